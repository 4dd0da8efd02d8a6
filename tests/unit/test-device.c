/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image files as devices, and the parts of opening that need no block device.
 * The tests that mount block devices test those.
 */
#include "unit.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device/same-device.h"
#include "device/pages.h"
#include "device/acl.h"
#include "device/open.h"

struct image {
	char *path;
	int fd;
};

static int image_setup(void **state)
{
	struct image *image = g_new0(struct image, 1);

	image->fd = g_file_open_tmp("blksparse-XXXXXX", &image->path, NULL);
	*state = image;
	return image->fd < 0;
}

static int image_teardown(void **state)
{
	struct image *image = *state;

	close(image->fd);
	(void)g_unlink(image->path);
	g_free(image->path);
	g_free(image);
	return 0;
}

static void put(const struct image *image, off_t off, const char *text)
{
	assert_int_equal(pwrite(image->fd, text, strlen(text), off),
			 strlen(text));
}

static void refused(const char *path, const char *why)
{
	g_autoptr(GError) error = NULL;

	assert_null(bsp_device_open(path, &error));
	assert_non_null(error);
	assert_non_null(strstr(error->message, path));
	if (!strstr(error->message, why))
		fail_msg("'%s' does not say '%s'", error->message, why);
}

static void files_that_cannot_be_devices_are_refused_by_name(void **state)
{
	struct image *image = *state;

	refused("/nonexistent/device", "No such file");
	refused("/", "is a directory");
	refused("/dev/null", "is a character device");
	refused(image->path, "is empty");
}

static void an_image_has_the_size_mode_and_bytes_of_its_file(void **state)
{
	struct image *image = *state;
	struct bsp_device_info info;
	struct bsp_device *dev;
	char buf[16];

	assert_int_equal(fchmod(image->fd, 0640), 0);
	put(image, 70000, "end");
	dev = bsp_device_open(image->path, NULL);
	assert_non_null(dev);
	bsp_device_get_info(dev, &info);
	assert_int_equal(info.size, 70003);
	assert_int_equal(info.mode, 0640);
	assert_int_equal(info.uid, getuid());
	assert_false(info.is_block);
	assert_string_equal(bsp_device_path(dev), image->path);
	assert_int_equal(dev->ops->read(dev, 70000, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "end", 3);
	assert_int_equal(dev->ops->read(dev, 70003, buf, sizeof(buf)), 0);
	bsp_device_close(dev);
}

struct listed {
	char *path, *reason;
	unsigned n;
};

/* A bsp_layer_fn. */
static void note_layer(void *data, const char *path, const char *reason)
{
	struct listed *listed = data;

	g_free(listed->path);
	g_free(listed->reason);
	listed->path = g_strdup(path);
	listed->reason = g_strdup(reason);
	listed->n++;
}

/* The file system is named even where it is not trusted. */
static void an_image_is_listed_with_its_file_system(void **state)
{
	struct image *image = *state;
	g_autofree char *base = g_path_get_basename(image->path);
	g_autofree char *begin = g_strdup_printf("%s (", base);
	struct listed listed = { 0 };
	struct bsp_device *dev;

	put(image, 4 << 20, "data");
	dev = bsp_device_open(image->path, NULL);
	assert_non_null(dev);
	dev->ops->set_trust(dev, BSP_KNOWN_ALL);
	dev->ops->layers(dev, note_layer, &listed);
	assert_int_equal(listed.n, 1);
	assert_true(g_str_has_prefix(listed.path, begin));
	assert_null(listed.reason);
	assert_ptr_equal(dev->ops->known(dev, 0, true, 0, 4096).layer,
			 g_intern_string(listed.path));
	dev->ops->set_trust(dev, BSP_KNOWN_OFF);
	dev->ops->layers(dev, note_layer, &listed);
	assert_true(g_str_has_prefix(listed.path, begin));
	assert_string_equal(listed.reason, "known=off");
	g_free(listed.path);
	g_free(listed.reason);
	bsp_device_close(dev);
}

static void holes_of_an_image_are_known_zeros(void **state)
{
	struct image *image = *state;
	struct bsp_device *dev;
	struct bsp_known_answer answer;

	put(image, 4 << 20, "data");
	assert_int_equal(ftruncate(image->fd, 8 << 20), 0);
	dev = bsp_device_open(image->path, NULL);
	assert_non_null(dev);
	dev->ops->set_trust(dev, BSP_KNOWN_ALL);
	answer = dev->ops->known(dev, 0, true, 0, 8 << 20);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, 4 << 20);
	answer = dev->ops->known(dev, 0, true, 4 << 20, 8 << 20);
	assert_false(answer.zeros);
	assert_int_equal(answer.end, (4 << 20) + 4096);
	answer = dev->ops->known(dev, 0, true, 6 << 20, 8 << 20);
	assert_true(answer.zeros);
	assert_int_equal(answer.end, 8 << 20);
	answer = dev->ops->known(dev, 0, true, 6 << 20, 7 << 20);
	assert_int_equal(answer.end, 7 << 20);
	bsp_device_close(dev);
}

/* A write soon after a sample may not move the change time, whose clock is
 * coarse; so a sample with a recent time must not be settled. */
static void a_recent_change_time_is_not_settled_and_an_old_one_is(void **state)
{
	struct image *image = *state;
	struct bsp_content a, b;
	struct bsp_device *dev;

	put(image, 0, "old");
	dev = bsp_device_open(image->path, NULL);
	assert_non_null(dev);
	for (int i = 0; i < 50; i++) {
		dev->ops->content(dev, &a);
		put(image, 0, "new");
		dev->ops->content(dev, &b);
		assert_true(!a.settled || !bsp_content_equal(&a, &b));
		assert_false(b.settled);
	}
	bsp_device_close(dev);
	dev = bsp_device_open("/bin/sh", NULL);
	assert_non_null(dev);
	dev->ops->content(dev, &a);
	dev->ops->content(dev, &b);
	assert_true(a.settled && b.settled);
	assert_true(bsp_content_equal(&a, &b));
	bsp_device_close(dev);
}

enum {
	PATIENCE_US = 60 * G_USEC_PER_SEC, /* for another thread to run */
};

struct swap {
	const char *link, *next; /* next is made, and renamed to link */
	const char *to[2];
	atomic_bool stop;
};

static void *swap_links(void *data)
{
	struct swap *swap = data;

	for (int i = 0; !atomic_load(&swap->stop); i++) {
		(void)!symlink(swap->to[i % 2], swap->next);
		(void)rename(swap->next, swap->link);
	}
	return NULL;
}

/* If the path were followed again after the check, this would open the pipe and
 * wait for its other end. */
static void a_path_that_changes_meanwhile_is_followed_once(void **state)
{
	const struct image *image = *state;
	g_autofree char *link = g_strconcat(image->path, ".link", NULL);
	g_autofree char *next = g_strconcat(image->path, ".next", NULL);
	g_autofree char *fifo = g_strconcat(image->path, ".fifo", NULL);
	struct swap swap = { .link = link,
			     .next = next,
			     .to = { image->path, fifo } };
	int opened = 0, refused_as_pipe = 0;
	int64_t end = g_get_monotonic_time() + PATIENCE_US;
	pthread_t thread;

	put(image, 0, "data");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink(fifo, link), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap_links, &swap), 0);
	for (int i = 0; i < 5000 || ((!opened || !refused_as_pipe) &&
				     g_get_monotonic_time() < end);
	     i++) {
		g_autoptr(GError) error = NULL;
		struct bsp_device *dev =
			i % 2 ? bsp_device_open(link, &error)
			      : bsp_device_open_writable(link, &error);

		assert_true(dev || strstr(error->message, "is a pipe"));
		opened += dev != NULL;
		refused_as_pipe += dev == NULL;
		bsp_device_close(dev);
	}
	atomic_store(&swap.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(opened && refused_as_pipe);
	(void)unlink(next);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(unlink(fifo), 0);
}

static void reopening_follows_the_descriptor_not_the_path(void **state)
{
	const struct image *image = *state;
	g_autofree char *moved = g_strconcat(image->path, ".moved", NULL);
	struct stat was, is;
	int again;

	assert_int_equal(fstat(image->fd, &was), 0);
	assert_int_equal(rename(image->path, moved), 0);
	assert_true(g_file_set_contents(image->path, "another", -1, NULL));
	again = bsp_device_reopen(image->fd, image->path, O_RDWR);
	assert_true(again >= 0);
	assert_int_equal(fstat(again, &is), 0);
	assert_int_equal(is.st_ino, was.st_ino);
	close(again);
	assert_int_equal(unlink(moved), 0);
}

static void a_new_image_is_one_hole(void **state)
{
	struct image *image = *state;
	struct bsp_device_info info;
	struct bsp_device *dev, *again;
	g_autoptr(GError) error = NULL;
	struct stat st;

	put(image, 0, "old");
	dev = bsp_device_create_image(image->path, 1 << 20, NULL, NULL);
	assert_non_null(dev);
	bsp_device_get_info(dev, &info);
	assert_true(info.writable);
	assert_int_equal(info.size, 1 << 20);
	assert_int_equal(fstat(image->fd, &st), 0);
	assert_int_equal(st.st_size, 1 << 20);
	assert_int_equal(st.st_blocks, 0);
	/* The image is locked: another opening must not empty it. */
	put(image, 0, "new");
	again = bsp_device_create_image(image->path, 4096, NULL, &error);
	assert_null(again);
	assert_non_null(strstr(error->message, "is locked"));
	assert_int_equal(fstat(image->fd, &st), 0);
	assert_int_equal(st.st_size, 1 << 20);
	bsp_device_close(dev);
	assert_null(bsp_device_create_image("/dev/null", 4096, NULL, NULL));
	assert_null(bsp_device_create_image(image->path, 0, NULL, NULL));
	/* A mistyped name of a device does not become a file. */
	assert_null(bsp_device_create_image("/dev/blksparse-no-such", 4096,
					    NULL, NULL));
	assert_int_equal(access("/dev/blksparse-no-such", F_OK), -1);
	assert_null(
		bsp_device_create_image("/nonexistent/x", 4096, NULL, NULL));
}

static void an_image_is_not_emptied_to_be_its_own_target(void **state)
{
	struct image *image = *state;
	g_autofree char *other = g_strconcat(image->path, ".link", NULL);
	g_autoptr(GError) error = NULL;
	struct bsp_device *from;
	char text[4] = "";

	put(image, 0, "old");
	assert_int_equal(link(image->path, other), 0);
	from = bsp_device_open(image->path, NULL);
	assert_non_null(from);
	assert_null(bsp_device_create_image(other, 4096, from, &error));
	assert_non_null(strstr(error->message, "same file"));
	assert_int_equal(pread(image->fd, text, 3, 0), 3);
	assert_string_equal(text, "old");
	assert_false(bsp_device_check_not_same(from, from, NULL));
	bsp_device_close(from);
	assert_int_equal(unlink(other), 0);
}

static void a_writable_image_is_locked(void **state)
{
	struct image *image = *state;
	g_autoptr(GError) error = NULL;
	struct bsp_device *dev;

	put(image, 0, "data");
	dev = bsp_device_open_writable(image->path, NULL);
	assert_non_null(dev);
	assert_null(bsp_device_open_writable(image->path, &error));
	assert_non_null(strstr(error->message, "is locked"));
	bsp_device_close(dev);
	dev = bsp_device_open_writable(image->path, NULL);
	assert_non_null(dev);
	bsp_device_close(dev);
}

static void a_mode_allows_no_more_than_the_acl(void **state)
{
	enum { USER = 2, OWNING_GROUP = 4, GROUP = 8, MASK = 16, OTHER = 32 };
	static const struct {
		mode_t mode, want;
		struct {
			uint16_t tag, bits;
		} entry[6];
	} cases[] = {
		/* The mask is no more than an upper limit. */
		{ 0640, 0600, { { USER, 4 }, { MASK, 4 } } },
		{ 0660,
		  0640,
		  { { OWNING_GROUP, 4 }, { USER, 6 }, { MASK, 6 } } },
		{ 0620,
		  0600,
		  { { OWNING_GROUP, 4 }, { USER, 6 }, { MASK, 2 } } },
		/* A named user may be in the owning group, or one of the
		 * others. */
		{ 0644,
		  0600,
		  { { OWNING_GROUP, 4 },
		    { USER, 0 },
		    { MASK, 4 },
		    { OTHER, 4 } } },
		/* Members of a named group are among the others. */
		{ 0644,
		  0640,
		  { { OWNING_GROUP, 4 },
		    { GROUP, 0 },
		    { MASK, 4 },
		    { OTHER, 4 } } },
		/* The mask does not limit others. */
		{ 0604,
		  0604,
		  { { OWNING_GROUP, 4 }, { MASK, 0 }, { OTHER, 4 } } },
		{ 04640, 04640, { { OWNING_GROUP, 4 } } },
		/* An entry with an unknown tag. */
		{ 0644, 0600, { { 64, 4 } } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		uint8_t acl[4 + 8 * 6] = { 2 };
		size_t len = 4;

		for (size_t j = 0; cases[i].entry[j].tag; j++, len += 8) {
			acl[len] = (uint8_t)cases[i].entry[j].tag;
			acl[len + 2] = (uint8_t)cases[i].entry[j].bits;
		}
		assert_int_equal(bsp_acl_limit_mode(cases[i].mode, acl, len),
				 cases[i].want);
		assert_int_equal(
			bsp_acl_limit_mode(cases[i].mode, acl, len - 1),
			cases[i].mode & 07700);
		acl[0] = 1;
		assert_int_equal(bsp_acl_limit_mode(cases[i].mode, acl, len),
				 cases[i].mode & 07700);
	}
}

/* --- Cached pages --- */

static void check_cached_pages(struct image *image)
{
	assert_int_equal(ftruncate(image->fd, 1 << 20), 0);
	assert_false(bsp_pages_cached(image->fd, 0, 1 << 20));
	put(image, 64 << 10, "x");
	assert_true(bsp_pages_cached(image->fd, 0, 1 << 20));
	/* The pages that either end cuts count. */
	assert_true(bsp_pages_cached(image->fd, (64 << 10) + 100, 1 << 20));
	assert_true(bsp_pages_cached(image->fd, 0, (64 << 10) + 100));
	assert_false(bsp_pages_cached(image->fd, 0, 32 << 10));
	assert_false(bsp_pages_cached(image->fd, 128 << 10, 1 << 20));
	/* The size of the file does not matter. */
	assert_false(bsp_pages_cached(image->fd, 1 << 20, 3 << 20));
	assert_int_equal(ftruncate(image->fd, 0), 0);
	assert_false(bsp_pages_cached(image->fd, 0, 1 << 20));
}

static void cached_pages_are_found(void **state)
{
	check_cached_pages(*state);
}

/* As before Linux 6.5. From here on this program has no cachestat(2). */
static void cached_pages_are_found_on_older_kernels(void **state)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 451, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { 4, code };

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter),
			 0);
	check_cached_pages(*state);
}

static void messages_show_no_password_of_an_export(void **state)
{
	static const char uri[] = "nbd://user:secret@host/disk";
	g_autoptr(GError) error = NULL;

	assert_null(bsp_device_create_image(uri, 4096, NULL, &error));
	assert_null(strstr(error->message, "secret"));
	g_clear_error(&error);
	assert_false(bsp_check_not_same_device(uri, uri, &error));
	assert_null(strstr(error->message, "secret"));
}

/* --- The name of a new image --- */

/* The directories that were synced, the last of them, and the error that a sync
 * of one returns. */
static struct {
	unsigned n;
	ino_t last;
	int error;
} synced;

/* In place of the C library's. */
int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		synced.n++;
		synced.last = st.st_ino;
		errno = synced.error;
	}
	return S_ISDIR(st.st_mode) && synced.error
		       ? -1
		       : (int)syscall(SYS_fsync, fd);
}

static void flush_is(struct bsp_device *dev, int r, unsigned syncs)
{
	synced.n = 0;
	assert_int_equal(dev->ops->flush(dev), r);
	assert_int_equal(synced.n, syncs);
}

static void a_flush_makes_the_name_of_a_new_image_durable(void **state)
{
	g_autofree char *folder = g_dir_make_tmp("blksparse-XXXXXX", NULL);
	g_autofree char *other = g_build_filename(folder, "other", NULL);
	g_autofree char *path = g_build_filename(other, "image", NULL);
	g_autofree char *link = g_build_filename(folder, "link", NULL);
	struct bsp_device *dev;
	struct stat st;

	assert_int_equal(g_mkdir(other, 0700), 0);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(stat(other, &st), 0);
	dev = bsp_device_create_image(link, 4096, NULL, NULL);
	assert_non_null(dev);
	synced.error = EIO;
	flush_is(dev, -EIO, 1);
	synced.error = 0;
	flush_is(dev, 0, 1);
	assert_int_equal(synced.last, st.st_ino);
	flush_is(dev, 0, 0);
	bsp_device_close(dev);

	/* It may be new: the program that made it may have failed. */
	dev = bsp_device_open_image(path, 8192, NULL, NULL);
	assert_non_null(dev);
	synced.error = EINVAL; /* the file system cannot sync one */
	flush_is(dev, 0, 1);
	synced.error = 0;
	flush_is(dev, 0, 0);
	bsp_device_close(dev);

	dev = bsp_device_open_writable(path, NULL);
	assert_non_null(dev);
	flush_is(dev, 0, 0);
	bsp_device_close(dev);
	assert_int_equal(g_unlink(path), 0);
	assert_int_equal(g_unlink(link), 0);
	assert_int_equal(g_rmdir(other), 0);
	assert_int_equal(g_rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flush_makes_the_name_of_a_new_image_durable),
		cmocka_unit_test_setup_teardown(
			files_that_cannot_be_devices_are_refused_by_name,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			an_image_has_the_size_mode_and_bytes_of_its_file,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			an_image_is_listed_with_its_file_system, image_setup,
			image_teardown),
		cmocka_unit_test_setup_teardown(
			holes_of_an_image_are_known_zeros, image_setup,
			image_teardown),
		cmocka_unit_test_setup_teardown(
			a_recent_change_time_is_not_settled_and_an_old_one_is,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			a_path_that_changes_meanwhile_is_followed_once,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			reopening_follows_the_descriptor_not_the_path,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(a_new_image_is_one_hole,
						image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			an_image_is_not_emptied_to_be_its_own_target,
			image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(a_writable_image_is_locked,
						image_setup, image_teardown),
		cmocka_unit_test(a_mode_allows_no_more_than_the_acl),
		cmocka_unit_test_setup_teardown(cached_pages_are_found,
						image_setup, image_teardown),
		cmocka_unit_test_setup_teardown(
			cached_pages_are_found_on_older_kernels, image_setup,
			image_teardown),
		cmocka_unit_test(messages_show_no_password_of_an_export),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
