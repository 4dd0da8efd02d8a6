/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel may not keep names: it asks for each use of one, and the answer is
 * that of sysfs and /dev at that moment. So devices come and go without any
 * event to follow, in the same way with udevd and without it, and the program
 * does nothing while nothing is asked. The links are those that /dev has.
 *
 * A name that stands for another device than before gets another inode, so that
 * files that are open keep the device that they were opened on; see table.h. No
 * handler here opens a device; that is left to the first opening of its file.
 *
 * A device that is made of a file of this mount, as a loop device, is not
 * shown: to read it, this program would wait for itself, and a copy of all
 * files would have its content twice.
 */
#include "all.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse-blocks.h"
#include "mount.h"
#include "ops.h"
#include "request.h"

#define LONG_TIMEOUT 86400.0 /* seconds */

enum {
	FIRST_FOLDER = FUSE_ROOT_ID + 1,
	LINK_MODE = S_IFLNK | 0777,
};

/* Inodes of links begin above those of devices. */
#define FIRST_LINK (UINT64_C(1) << 40)

/* The folders of links, and where /dev has these. Their inodes are
 * FIRST_FOLDER + index. */
static const struct {
	const char *name, *place;
} folders[] = {
	{ "by-id", "disk/by-id" },
	{ "by-label", "disk/by-label" },
	{ "by-path", "disk/by-path" },
	{ "by-uuid", "disk/by-uuid" },
	{ "by-partlabel", "disk/by-partlabel" },
	{ "by-partuuid", "disk/by-partuuid" },
	{ "mapper", "mapper" },
};

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The index of a folder of links; -1 if the inode is none. */
static int folder_of(fuse_ino_t ino)
{
	return ino >= FIRST_FOLDER && ino < FIRST_FOLDER + G_N_ELEMENTS(folders)
		       ? (int)(ino - FIRST_FOLDER)
		       : -1;
}

static bool is_folder(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID || folder_of(ino) >= 0;
}

/* --- Links --------------------------------------------------------------- */

struct link {
	const char *target;
};

/* Part of struct table_ops. */
static void *make_link(void *data, uint64_t parent, uint64_t ino,
		       const char *name, const char *identity)
{
	struct link *link = calloc(1, sizeof(*link));

	if (link)
		link->target = identity;
	return link;
}

bool all_init(struct mount *mount)
{
	static const struct table_ops links = {
		.make = make_link,
		.free = free,
	};

	mount->links = table_new(&links, NULL, FIRST_LINK);
	return mount->links != NULL;
}

void all_done(struct mount *mount)
{
	table_free(mount->links);
	mount->links = NULL;
}

/* --- The devices that are shown ------------------------------------------ */

static bool matches(const struct mount *mount, const char *name)
{
	const GPtrArray *patterns = mount->options.matches;

	for (guint i = 0; i < patterns->len; i++) {
		if (fnmatch(g_ptr_array_index(patterns, i), name, 0) == 0)
			return true;
	}
	return patterns->len == 0;
}

/* Finds a device that the mount shows. Returns 0 or -ENOENT. */
static int find_device(const struct mount *mount, const char *name,
		       struct bsp_block *ret)
{
	const char *own = mount->mountpoint.device;

	if (!matches(mount, name) || bsp_block_find(name, ret) < 0 ||
	    bsp_block_lies_on(ret->rdev, own ? own : ""))
		return -ENOENT;
	return 0;
}

/* Finds a link in a folder whose device the mount shows. Returns 0 or
 * -ENOENT. */
static int find_link(const struct mount *mount, int folder, const char *name,
		     char *ret_target, size_t size)
{
	char device[BSP_BLOCK_NAME_SIZE];
	struct bsp_block block;

	if (bsp_block_follow(folders[folder].place, name, device) < 0 ||
	    find_device(mount, device, &block) < 0)
		return -ENOENT;
	(void)g_strlcpy(ret_target, "../", size);
	(void)g_strlcat(ret_target, device, size);
	return 0;
}

/* --- Attributes ---------------------------------------------------------- */

/* The times of a folder are those of its counterpart in /dev, which move when
 * devices come and go. */
static void stat_folder(const struct mount *mount, fuse_ino_t ino,
			struct stat *ret)
{
	int folder = folder_of(ino);
	char path[64] = "/dev";
	struct stat st;

	*ret = mount->tree.root;
	ret->st_ino = ino;
	if (folder < 0) {
		ret->st_nlink += G_N_ELEMENTS(folders);
	} else {
		(void)g_strlcat(path, "/", sizeof(path));
		(void)g_strlcat(path, folders[folder].place, sizeof(path));
	}
	if (stat(path, &st) < 0)
		return;
	ret->st_mtim = st.st_mtim;
	ret->st_ctim = st.st_mtim;
}

static void stat_link(const struct mount *mount, fuse_ino_t ino,
		      const char *target, struct stat *ret)
{
	*ret = mount->tree.root;
	ret->st_ino = ino;
	ret->st_mode = LINK_MODE;
	ret->st_nlink = 1;
	ret->st_size = (off_t)strlen(target);
}

/* Returns 0 or -errno. */
static int stat_device(const struct mount *mount, fuse_ino_t ino,
		       struct stat *ret)
{
	struct file *file = tree_find(&mount->tree, ino);
	char identity[IDENTITY_SIZE] = "";
	struct bsp_block block;

	if (!file)
		return -ENOENT;
	if (bsp_block_find(file->name, &block) == 0)
		file_identity(&block, identity);
	return file_stat_block(
		file, strcmp(identity, file->identity) == 0 ? &block : NULL,
		ret);
}

static int stat_inode(const struct mount *mount, fuse_ino_t ino,
		      struct stat *ret)
{
	const struct link *link;

	if (is_folder(ino)) {
		stat_folder(mount, ino, ret);
		return 0;
	}
	if (ino < FIRST_LINK)
		return stat_device(mount, ino, ret);
	link = table_find(mount->links, ino);
	if (!link)
		return -ENOENT;
	stat_link(mount, ino, link->target, ret);
	return 0;
}

static void all_getattr(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct request request = request_begin(req, ".", "getattr", 0, 0);
	struct stat st;
	int r = stat_inode(mount_of(req), ino, &st);

	if (r)
		reply_error(&request, r);
	else
		reply_attr(&request, &st, 0);
}

/* --- Names --------------------------------------------------------------- */

static int enter_device(struct mount *mount, const char *name, uint64_t pins,
			unsigned round, uint64_t *ret_ino)
{
	struct table *table = mount->tree.devices;
	char identity[IDENTITY_SIZE];
	struct bsp_block block;
	int r = find_device(mount, name, &block);

	if (r) {
		table_leave(table, FUSE_ROOT_ID, name);
		return r;
	}
	file_identity(&block, identity);
	return table_enter(table, FUSE_ROOT_ID, name, identity, pins, round,
			   ret_ino);
}

static int enter_link(struct mount *mount, fuse_ino_t parent, const char *name,
		      uint64_t pins, unsigned round, uint64_t *ret_ino)
{
	char target[BSP_BLOCK_NAME_SIZE + sizeof("../")];
	int r = find_link(mount, folder_of(parent), name, target,
			  sizeof(target));

	if (r) {
		table_leave(mount->links, parent, name);
		return r;
	}
	return table_enter(mount->links, parent, name, target, pins, round,
			   ret_ino);
}

/* Finds the inode of a name, and pins it. Returns 0 or -errno. */
static int enter(struct mount *mount, fuse_ino_t parent, const char *name,
		 uint64_t *ret_ino)
{
	if (folder_of(parent) >= 0)
		return enter_link(mount, parent, name, 1, 0, ret_ino);
	if (parent != FUSE_ROOT_ID)
		return -ENOTDIR;
	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		*ret_ino = FIRST_FOLDER + i;
		if (strcmp(name, folders[i].name) == 0)
			return 0;
	}
	return enter_device(mount, name, 1, 0, ret_ino);
}

static void forget(struct mount *mount, fuse_ino_t ino, uint64_t n)
{
	if (!is_folder(ino))
		table_forget(ino < FIRST_LINK ? mount->tree.devices
					      : mount->links,
			     ino, n);
}

static void all_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request request = request_begin(req, name, "lookup", 0, 0);
	struct mount *mount = mount_of(req);
	struct fuse_entry_param entry = { 0 };
	int r = enter(mount, parent, name, &entry.ino);

	if (r) {
		reply_error(&request, r);
		return;
	}
	r = stat_inode(mount, entry.ino, &entry.attr);
	if (r) {
		forget(mount, entry.ino, 1);
		/* The device went meanwhile. */
		reply_error(&request, -ENOENT);
		return;
	}
	if (is_folder(entry.ino))
		entry.entry_timeout = LONG_TIMEOUT;
	reply_entry(&request, &entry);
}

static void all_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(mount_of(req), ino, n);
	fuse_reply_none(req);
}

static void all_forget_multi(fuse_req_t req, size_t count,
			     struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(mount_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void all_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request request = request_begin(req, ".", "readlink", 0, 0);
	const struct link *link = table_find(mount_of(req)->links, ino);

	if (link)
		reply_link(&request, link->target);
	else
		reply_error(&request, -EINVAL);
}

/* --- Listings ------------------------------------------------------------ */

struct entry {
	char *name;
	uint64_t ino;
	mode_t type;
};

/* The names of a folder at the moment at which its reader was at the start, so
 * that the reader gets each of them once. Used by one request at a time: the
 * kernel locks the offset of an open folder. */
struct listing {
	struct held_item item; /* first */
	struct entry *entries;
	size_t n, capacity;
};

static struct listing *listing_of(const struct fuse_file_info *fi)
{
	return (struct listing *)(uintptr_t)fi->fh;
}

static void empty(struct listing *listing)
{
	for (size_t i = 0; i < listing->n; i++)
		free(listing->entries[i].name);
	listing->n = 0;
}

/* Part of struct held_item. */
static void free_listing(struct held_item *item)
{
	struct listing *listing = (struct listing *)item;

	empty(listing);
	free(listing->entries);
	free(listing);
}

/* Returns 0 or -ENOMEM. */
static int add_entry(struct listing *listing, const char *name, uint64_t ino,
		     mode_t type)
{
	char *copy = strdup(name);

	if (copy && listing->n == listing->capacity) {
		size_t capacity =
			listing->capacity ? 2 * listing->capacity : 64;
		struct entry *entries =
			realloc(listing->entries, capacity * sizeof(*entries));

		if (entries) {
			listing->entries = entries;
			listing->capacity = capacity;
		}
	}
	if (!copy || listing->n == listing->capacity) {
		free(copy);
		return -ENOMEM;
	}
	listing->entries[listing->n++] = (struct entry){ copy, ino, type };
	return 0;
}

static int list_names(struct mount *mount, fuse_ino_t folder, DIR *dir,
		      unsigned round, struct listing *listing)
{
	bool links = folder != FUSE_ROOT_ID;
	const char *name;
	uint64_t ino;
	int r = 0;

	while (r != -ENOMEM && (name = bsp_block_next(dir))) {
		r = links ? enter_link(mount, folder, name, 0, round, &ino)
			  : enter_device(mount, name, 0, round, &ino);
		if (r == 0)
			r = add_entry(listing, name, ino,
				      links ? S_IFLNK : S_IFREG);
	}
	return r == -ENOMEM ? r : 0;
}

/* Lists a folder anew. A folder of links that /dev does not have is empty.
 * Returns 0 or -ENOMEM. */
static int list(struct mount *mount, fuse_ino_t folder, struct listing *listing)
{
	int index = folder_of(folder), r;
	struct table *table = index < 0 ? mount->tree.devices : mount->links;
	unsigned round = table_begin_listing(table);
	DIR *dir = index < 0 ? bsp_block_list()
			     : bsp_block_list_links(folders[index].place);

	empty(listing);
	r = add_entry(listing, ".", folder, S_IFDIR);
	if (!r)
		r = add_entry(listing, "..", FUSE_ROOT_ID, S_IFDIR);
	for (size_t i = 0; !r && index < 0 && i < G_N_ELEMENTS(folders); i++)
		r = add_entry(listing, folders[i].name, FIRST_FOLDER + i,
			      S_IFDIR);
	if (!r)
		r = list_names(mount, folder, dir, round, listing);
	if (!r)
		table_end_listing(table, folder, round);
	if (dir)
		(void)closedir(dir);
	return r;
}

static void all_opendir(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct request request = request_begin(req, ".", "opendir", 0, 0);
	struct held *held = &mount_of(req)->held;
	struct listing *listing = calloc(1, sizeof(*listing));

	if (!listing) {
		reply_error(&request, -ENOMEM);
		return;
	}
	held_add(held, &listing->item, free_listing);
	fi->fh = (uintptr_t)listing;
	if (!reply_open(&request, fi))
		held_free(held, &listing->item);
}

static void all_releasedir(fuse_req_t req, fuse_ino_t ino,
			   struct fuse_file_info *fi)
{
	struct request request = request_begin(req, ".", "releasedir", 0, 0);

	held_free(&mount_of(req)->held, &listing_of(fi)->item);
	reply_error(&request, 0);
}

static void all_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	struct request request =
		request_begin(req, ".", "readdir", (uint64_t)off, size);
	struct mount *mount = mount_of(req);
	char *buf = buffers_get(&mount->buffers, size);
	struct listing *listing = listing_of(fi);
	size_t used = 0;
	int r = buf ? 0 : -ENOMEM;

	if (!r && off == 0)
		r = list(mount, ino, listing);
	for (size_t i = (size_t)off; !r && i < listing->n; i++) {
		const struct entry *entry = &listing->entries[i];
		struct stat st = { .st_ino = entry->ino,
				   .st_mode = entry->type };
		size_t need = fuse_add_direntry(req, buf + used, size - used,
						entry->name, &st, (off_t)i + 1);

		if (need > size - used)
			break;
		used += need;
	}
	if (r)
		reply_error(&request, r);
	else
		reply_data(&request, buf, used);
}

const struct fuse_lowlevel_ops *all_ops(void)
{
	static struct fuse_lowlevel_ops all;

	all = ops;
	all.lookup = all_lookup;
	all.forget = all_forget;
	all.forget_multi = all_forget_multi;
	all.getattr = all_getattr;
	all.readlink = all_readlink;
	all.opendir = all_opendir;
	all.readdir = all_readdir;
	all.releasedir = all_releasedir;
	return &all;
}
