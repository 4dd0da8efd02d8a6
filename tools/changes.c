/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "message.h"

/* A list that begins so is not a file, but a bitmap of the source's server. */
#define NBD_PREFIX "nbd:"
/* In these, bit 0 of the flags tells of changes. */
#define BITMAP_PREFIX "qemu:dirty-bitmap:"

static char *opt_changes, *opt_since_device;
static gboolean opt_fall_back;

const GOptionEntry changes_entries[] = {
	{ "changes", 0, 0, G_OPTION_ARG_FILENAME, &opt_changes,
	  "Read only the changes that LIST has", "LIST" },
	{ "fall-back", 0, 0, G_OPTION_ARG_NONE, &opt_fall_back,
	  "If changes cannot be had, read and compare all", NULL },
	{ "since-device", 0, 0, G_OPTION_ARG_FILENAME, &opt_since_device,
	  "Read only what differs from the thin snapshot OLD", "OLD" },
	{ 0 },
};

/* The metadata context of the bitmap; NULL if the changes are in a file. */
static const char *context(void)
{
	return opt_changes && g_str_has_prefix(opt_changes, NBD_PREFIX)
		       ? opt_changes + strlen(NBD_PREFIX)
		       : NULL;
}

bool changes_wanted(void)
{
	return opt_changes || opt_since_device;
}

bool changes_can_fall_back(void)
{
	return opt_fall_back;
}

int changes_check_options(void)
{
	if (opt_fall_back && !changes_wanted())
		return usage_error("--fall-back goes with --changes or "
				   "--since-device");
	if (opt_changes && opt_since_device)
		return usage_error("--changes does not go with "
				   "--since-device");
	if (context() && !(g_str_has_prefix(context(), BITMAP_PREFIX) &&
			   context()[strlen(BITMAP_PREFIX)]))
		return usage_error(
			"--changes: '%s' is not " NBD_PREFIX BITMAP_PREFIX
			"NAME",
			opt_changes);
	return STATUS_OK;
}

struct bsp_device *changes_open_device(const char *path, GError **error)
{
	if (!context())
		return bsp_device_open(path, error);
	return bsp_device_open_nbd(path, context(), error);
}

static struct bsp_changes *read_list(struct bsp_sparse *sp, GError **error)
{
	bool is_stdin = strcmp(opt_changes, "-") == 0;
	const char *name = is_stdin ? "standard input" : opt_changes;
	struct bsp_changes *changes;
	int fd = is_stdin ? STDIN_FILENO
			  : open(opt_changes, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED, "%s: %s", name,
			    g_strerror(errno));
		return NULL;
	}
	changes = bsp_changes_read(sp, fd, name, interrupted, NULL, error);
	if (!is_stdin)
		close(fd);
	return changes;
}

static struct bsp_changes *read_changes(struct bsp_sparse *sp, GError **error)
{
	if (opt_since_device)
		return bsp_changes_of_thin(sp, opt_since_device, interrupted,
					   NULL, error);
	if (context())
		return bsp_changes_of_server(sp, interrupted, NULL, error);
	return read_list(sp, error);
}

bool changes_open(struct bsp_sparse *sp, struct bsp_changes **ret_changes,
		  bool *ret_fell_back, GError **error)
{
	g_autoptr(GError) why = NULL;

	*ret_changes = NULL;
	*ret_fell_back = false;
	if (!changes_wanted())
		return true;
	*ret_changes = read_changes(sp, &why);
	if (*ret_changes)
		return true;
	*ret_fell_back =
		opt_fall_back &&
		!g_error_matches(why, BSP_ERROR, BSP_ERROR_INTERRUPTED);
	if (!*ret_fell_back) {
		g_propagate_error(error, g_steal_pointer(&why));
		return false;
	}
	failure("warning: %s; all is read and compared instead", why->message);
	return true;
}
