/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking for a table or a status. The kernel writes the answer into the buffer
 * of the call, behind the header: a chain of struct dm_target_spec, each with
 * its text. If the buffer is too small, the kernel sets DM_BUFFER_FULL_FLAG and
 * does not fail, so the call is repeated with larger buffers up to ANSWER_MAX.
 *
 * The hash of a table covers the answer as it is. It is only good for comparing
 * it with another hash from here, on the same kernel.
 */
#include "device/dm-table.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/range.h"
#include "device/identity.h"

enum {
	ANSWER_MIN = 16 << 10,
	ANSWER_MAX = 16 << 20,
};

/* Returns the answer of the device mapper, to be freed, and how much of it is
 * used; NULL, and errno, on failure. */
static char *ask(int control, dev_t rdev, uint32_t flags, size_t *ret_size)
{
	for (size_t size = ANSWER_MIN; size <= ANSWER_MAX; size *= 4) {
		const struct dm_ioctl head = {
			.version = { DM_VERSION_MAJOR, 0, 0 },
			.data_size = (uint32_t)size,
			.data_start = sizeof(head),
			.flags = flags,
			.dev = rdev,
		};
		g_autofree char *answer = g_malloc0(size);
		const struct dm_ioctl *answered = (void *)answer;

		memcpy(answer, &head, sizeof(head));
		if (ioctl(control, DM_TABLE_STATUS, answer) < 0)
			return NULL;
		if (answered->flags & DM_BUFFER_FULL_FLAG)
			continue;
		*ret_size = bsp_min(answered->data_size, size);
		return g_steal_pointer(&answer);
	}
	errno = E2BIG;
	return NULL;
}

static void clear_target(void *target)
{
	g_free(((struct bsp_dm_target *)target)->params);
}

/* Reads the target at *at, and moves *at to the next one. Returns false if the
 * answer is cut off. */
static bool read_target(const char *answer, size_t size, size_t *at,
			GArray *targets)
{
	struct bsp_dm_target target = { 0 };
	struct dm_target_spec spec;
	size_t params = *at + sizeof(spec);
	struct dm_ioctl head;

	if (params > size)
		return false;
	memcpy(&head, answer, sizeof(head));
	memcpy(&spec, answer + *at, sizeof(spec));
	if (!memchr(answer + params, '\0', size - params))
		return false;
	target.start = spec.sector_start;
	target.len = spec.length;
	memcpy(target.type, spec.target_type, sizeof(target.type) - 1);
	target.params = g_strdup(answer + params);
	g_array_append_val(targets, target);
	*at = (size_t)head.data_start + spec.next;
	return true;
}

static GArray *targets_of(int control, dev_t rdev, uint32_t flags,
			  uint64_t *ret_hash)
{
	size_t size, at;
	g_autofree char *answer = ask(control, rdev, flags, &size);
	g_autoptr(GArray) targets =
		g_array_new(FALSE, FALSE, sizeof(struct bsp_dm_target));
	struct dm_ioctl head;

	if (!answer)
		return NULL;
	g_array_set_clear_func(targets, clear_target);
	memcpy(&head, answer, sizeof(head));
	at = head.data_start;
	if (at > size) {
		errno = EPROTO;
		return NULL;
	}
	if (ret_hash)
		*ret_hash = head.target_count
				    ? bsp_hash(0, answer + at, size - at)
				    : 0;
	for (uint32_t i = 0; i < head.target_count; i++) {
		if (!read_target(answer, size, &at, targets)) {
			errno = EPROTO;
			return NULL;
		}
	}
	return g_steal_pointer(&targets);
}

GArray *bsp_dm_targets(int control, dev_t rdev, uint64_t *ret_hash)
{
	return targets_of(control, rdev, DM_STATUS_TABLE_FLAG, ret_hash);
}

GArray *bsp_dm_status(int control, dev_t rdev)
{
	return targets_of(control, rdev, 0, NULL);
}

bool bsp_dm_is_suspended(int control, dev_t rdev)
{
	struct dm_ioctl query = {
		.version = { DM_VERSION_MAJOR, 0, 0 },
		.data_size = sizeof(query),
		.data_start = sizeof(query),
		.dev = rdev,
	};

	return ioctl(control, DM_DEV_STATUS, &query) < 0 ||
	       query.flags & DM_SUSPEND_FLAG;
}

bool bsp_dm_skips_zeroing(const struct bsp_dm_target *target)
{
	g_auto(GStrv) words = g_strsplit(target->params, " ", -1);

	return strcmp(target->type, "thin-pool") == 0 &&
	       g_strv_contains((const char *const *)words,
			       "skip_block_zeroing");
}
