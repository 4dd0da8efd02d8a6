/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel would mount over anything, and the user would find two mounts
 * where they thought to have repeated a command. What is mounted where is
 * read from /proc/self/mountinfo (proc(5)); where that cannot be had nothing
 * is refused.
 */
#include "mountpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blksparse.h"

/* A mount, as mountinfo has it. */
struct entry {
	char *device; /* "major:minor" */
	char *type;
	char *source;
};

static void entry_clear(struct entry *entry)
{
	g_free(entry->device);
	g_free(entry->type);
	g_free(entry->source);
	memset(entry, 0, sizeof(*entry));
}

/* Fills *ret if line is about path. The fields: id, parent, device, root,
 * mount point, options, any number more, "-", type, source, and others. */
static bool parse_line(const char *line, const char *path, struct entry *ret)
{
	g_auto(GStrv) field = g_strsplit(line, " ", -1);
	g_autofree char *where = NULL;
	guint n = g_strv_length(field), dash = 6;

	if (n < 5)
		return false;
	where = g_strcompress(field[4]); /* blanks are \040 */
	if (strcmp(where, path) != 0)
		return false;
	while (dash < n && strcmp(field[dash], "-") != 0)
		dash++;
	if (dash + 2 >= n)
		return false;
	entry_clear(ret);
	ret->device = g_strdup(field[2]);
	ret->type = g_strdup(field[dash + 1]);
	ret->source = g_strcompress(field[dash + 2]);
	return true;
}

/* What is on top at path: the last in the list. */
static bool find_mount(const char *path, struct entry *ret)
{
	FILE *list = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	size_t size = 0;
	char *line = NULL;

	if (!list)
		return false;
	while (getline(&line, &size, list) > 0)
		found |= parse_line(line, path, ret);
	free(line);
	(void)fclose(list);
	return found;
}

/* An absolute path without links; of the last part only if it answers, for it
 * may be a mount whose program has died. */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL);
	g_autofree char *folder = NULL, *name = NULL, *copy = NULL;
	char *above;

	if (real || errno != ENOTCONN) {
		copy = g_strdup(real ? real : path);
		free(real);
		return g_steal_pointer(&copy);
	}
	folder = g_path_get_dirname(path);
	name = g_path_get_basename(path);
	above = realpath(folder, NULL);
	copy = g_build_filename(above ? above : folder, name, NULL);
	free(above);
	return g_steal_pointer(&copy);
}

static bool refuse_mounted(const char *path, GError **error)
{
	struct entry entry = { 0 };
	bool refused = find_mount(path, &entry) &&
		       g_str_has_prefix(entry.type, "fuse") &&
		       strcmp(entry.type, "fusectl") != 0;

	if (refused)
		g_set_error(
			error, BSP_ERROR, BSP_ERROR_FAILED,
			"mount point %s is in use: %s (%s) is mounted there; unmount it first: %s %s",
			path, entry.source, entry.type,
			geteuid() == 0 ? "umount" : "fusermount3 -u", path);
	entry_clear(&entry);
	return refused;
}

bool mountpoint_check(const char *path, struct mountpoint *ret, GError **error)
{
	g_autofree char *real = resolve(path);
	struct stat st;

	if (refuse_mounted(real, error))
		return false;
	if (stat(path, &st) < 0) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED,
			    "mount point %s: %s%s", path, g_strerror(errno),
			    errno == ENOENT ? "; create it first, with mkdir"
					    : "");
		return false;
	}
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
		g_set_error(
			error, BSP_ERROR, BSP_ERROR_FAILED,
			"mount point %s is neither a directory nor a regular file (the mount point comes last)",
			path);
		return false;
	}
	ret->path = g_steal_pointer(&real);
	ret->is_file = S_ISREG(st.st_mode);
	ret->device = NULL;
	return true;
}

void mountpoint_mounted(struct mountpoint *mp)
{
	struct entry entry = { 0 };

	if (find_mount(mp->path, &entry))
		mp->device = g_steal_pointer(&entry.device);
	entry_clear(&entry);
}

/* Documentation/ABI/testing/sysfs-class-bdi */
void mountpoint_read_ahead(const struct mountpoint *mp, unsigned kib)
{
	g_autofree char *path = NULL;
	unsigned now;
	FILE *knob;

	if (!mp->device)
		return;
	path = g_strdup_printf("/sys/class/bdi/%s/read_ahead_kb", mp->device);
	knob = fopen(path, "r+e");
	if (!knob)
		return;
	if (fscanf(knob, "%u", &now) == 1 && now < kib) {
		rewind(knob);
		(void)fprintf(knob, "%u", kib);
	}
	(void)fclose(knob);
}

bool mountpoint_is_ours(const struct mountpoint *mp)
{
	struct entry entry = { 0 };
	bool ours = !mp->device || (find_mount(mp->path, &entry) &&
				    strcmp(entry.device, mp->device) == 0);

	entry_clear(&entry);
	return ours;
}

void mountpoint_detach(const struct mountpoint *mp)
{
	const char *argv[] = { "fusermount3", "-u",	"-q", "-z",
			       "--",	      mp->path, NULL };

	if (!mp->device || !mountpoint_is_ours(mp))
		return;
	/* Force is what ends the requests; a user who is not root does
	 * without. */
	if (umount2(mp->path, MNT_FORCE | MNT_DETACH) == 0)
		return;
	(void)g_spawn_sync(NULL, (char **)argv, NULL,
			   G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
				   G_SPAWN_STDERR_TO_DEV_NULL,
			   NULL, NULL, NULL, NULL, NULL, NULL);
}

void mountpoint_done(struct mountpoint *mp)
{
	g_clear_pointer(&mp->path, g_free);
	g_clear_pointer(&mp->device, g_free);
}
