/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds any text to the parsers of what users and the kernel write: sizes, NBD
 * URIs, and the list of mounts.
 *
 * The first byte of the input chooses the parser.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blksparse.h"
#include "blksparse-mount.h"
#include "blksparse-mountinfo.h"
#include "device/nbd-uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* A size is its digits times a power of 1024, and fits. */
static void check_size(const char *text)
{
	static const char units[] = "KMGTP";
	g_autoptr(GError) error = NULL;
	unsigned __int128 value = 0;
	const char *at = text, *unit;
	uint64_t size;

	if (!bsp_parse_size(text, &size, &error)) {
		must(error && error->domain == BSP_ERROR &&
		     error->code == BSP_ERROR_USAGE);
		return;
	}
	must(!error && g_ascii_isdigit(*at));
	for (; g_ascii_isdigit(*at); at++) {
		value = value * 10 + (unsigned)(*at - '0');
		must(value <= UINT64_MAX);
	}
	unit = *at ? strchr(units, g_ascii_toupper(*at)) : NULL;
	must(!*at || unit);
	if (unit)
		value <<= 10 * (unit - units + 1);
	must(value == size && strlen(at) <= 3);
}

/* A password is not in what is shown, and the length of the rest stays. */
static void check_uri(const char *text)
{
	g_autofree char *shown = bsp_nbd_uri_redact(text);
	g_autofree char *hidden = g_strdup(text);
	g_autofree char *again = NULL;

	bsp_nbd_uri_hide(hidden);
	must(strlen(hidden) == strlen(text));
	again = bsp_nbd_uri_redact(hidden);
	must(strcmp(again, shown) == 0);
	if (bsp_is_nbd_uri(text)) {
		g_autofree char *name = bsp_nbd_uri_name(text);

		must(name[0] && !strchr(name, '/') && strlen(name) <= 255);
	}
}

static void check_mounts(const char *text, size_t len)
{
	char path[32];
	int fd = memfd_create("mountinfo", MFD_CLOEXEC);
	g_autoptr(GPtrArray) mounts = NULL;

	must(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mounts = bsp_mountinfo_read(path);
	must(mounts);
	for (guint i = 0; i < mounts->len; i++) {
		const struct bsp_mount *mount = mounts->pdata[i];

		must(mount->id && mount->parent && mount->device &&
		     mount->where && mount->type && mount->source);
		must(!mount->where[0] ||
		     bsp_mount_is_above(mount, mount->where));
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;

	if (!len)
		return 0;
	text = strndup((const char *)data + 1, len - 1);
	if (data[0] % 3 == 0)
		check_size(text);
	else if (data[0] % 3 == 1)
		check_uri(text);
	else
		check_mounts((const char *)data + 1, len - 1);
	free(text);
	return 0;
}
