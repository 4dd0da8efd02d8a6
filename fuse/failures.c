/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "failures.h"

#include <errno.h>
#include <syslog.h>

#include "log.h"

enum { LOG_SECONDS = 60 };

static const char *const names[] = {
	[BSP_FAILING_READ] = "reading",
	[BSP_FAILING_WRITE] = "writing",
	[BSP_FAILING_ZERO] = "zeroing",
	[BSP_FAILING_FLUSH] = "flushing",
};

/* Advice for the user. */
static const char *advice(enum bsp_failing operation, int error)
{
	if (operation == BSP_FAILING_READ)
		return "programs that read there get this error";
	if (operation == BSP_FAILING_ZERO)
		return "zeros are written there instead";
	if (error == -ENOSPC)
		return "make room in the storage below it, and write all data since the last successful sync again";
	return "write all data since the last successful sync again";
}

static void log_failure(const char *path, enum bsp_failing operation,
			const struct bsp_failures *failed, uint64_t n)
{
	const char *place = bsp_is_nbd_uri(path) ? "the log of its server"
						 : "the kernel's log (dmesg)";
	char times[40] = "", at[40] = "";

	if (n > 1)
		(void)g_snprintf(times, sizeof(times),
				 " %" G_GUINT64_FORMAT " times, last", n);
	if (operation != BSP_FAILING_FLUSH)
		(void)g_snprintf(at, sizeof(at), " at byte %" G_GUINT64_FORMAT,
				 failed->off);
	log_line(LOG_ERR, "%s: %s failed%s%s: %s; look for the cause in %s; %s",
		 path, names[operation], times, at, g_strerror(-failed->error),
		 place, advice(operation, failed->error));
}

void failures_restart(struct failures *failures)
{
	for (int i = 0; i < BSP_FAILINGS; i++)
		failures->logged[i] = 0;
}

void failures_log(struct failures *failures, struct bsp_sparse *sp,
		  const char *path, uint64_t now)
{
	for (int i = 0; i < BSP_FAILINGS; i++) {
		struct bsp_failures failed;

		bsp_sparse_failures(sp, (enum bsp_failing)i, &failed);
		if (failed.n == failures->logged[i] ||
		    now < failures->next_log[i])
			continue;
		log_failure(path, (enum bsp_failing)i, &failed,
			    failed.n - failures->logged[i]);
		failures->logged[i] = failed.n;
		failures->next_log[i] = now + LOG_SECONDS;
	}
}
