/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hangs.h"

#include <syslog.h>

#include "log.h"

/* A flush that zeroes much may take longer, so the line does not claim a fault.
 */
#define PATIENCE_NS (INT64_C(30) * 1000000000)

static void log_hang(const struct file *file, const struct in_flight_view *view)
{
	log_line(
		LOG_WARNING,
		"%s: %s at byte %" G_GUINT64_FORMAT
		" has waited %" G_GINT64_FORMAT
		" seconds for the device (waiting requests: %u); see %s, and blksparse stat",
		file->path, view->op, view->off, view->age_ns / 1000000000,
		view->n,
		bsp_is_nbd_uri(file->path) ? "the log of its server"
					   : "the kernel's log (dmesg)");
}

static void look(struct file *file, void *data)
{
	struct in_flight_view view = in_flight_of(data, file->ino);
	bool hangs = view.n && view.age_ns >= PATIENCE_NS;

	if (hangs && !file->hangs)
		log_hang(file, &view);
	else if (!hangs && file->hangs)
		log_line(LOG_NOTICE, "%s: it answers again", file->path);
	file->hangs = hangs;
}

void hangs_log(const struct tree *tree, struct in_flight *in_flight)
{
	tree_each(tree, look, in_flight);
}
