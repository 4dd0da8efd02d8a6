/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking the kernel which pages it has cached: cachestat(2), or mincore(2)
 * before Linux 6.5. mincore() needs a mapping, which is never touched, and a
 * byte of memory for each page; so it gets 1 GiB of the range at a time.
 */
#include "device/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/range.h"

/* cachestat(2), Linux 6.5. It has this number on all architectures; older
 * headers do not have it. */
enum { CACHESTAT = 451 };

struct cachestat_range {
	uint64_t off, len;
};

struct cachestat {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Sets *ret_cached if a page of [from, to) is cached. Returns -1 if mincore(2)
 * fails. */
static int find_resident(int fd, uint64_t from, uint64_t to, uint64_t page,
			 bool *ret_cached)
{
	size_t len = (size_t)(to - from), pages = (size_t)((to - from) / page);
	unsigned char *in = malloc(pages);
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)from);
	int r = !in || map == MAP_FAILED ? -1 : mincore(map, len, in);

	for (size_t i = 0; !r && i < pages; i++)
		*ret_cached |= in[i] & 1;
	if (map != MAP_FAILED)
		(void)munmap(map, len);
	free(in);
	return r;
}

bool bsp_pages_cached(int fd, uint64_t from, uint64_t to)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t piece = UINT64_C(1) << 30;
	struct cachestat_range range;
	struct cachestat stat;
	bool cached = false;

	from -= from % page;
	to += (page - to % page) % page;
	range = (struct cachestat_range){ from, to - from };
	if (from >= to)
		return false;
	if (syscall(CACHESTAT, fd, &range, &stat, 0) == 0)
		return stat.cached != 0;
	while (from < to && !cached) {
		uint64_t end = bsp_min(to, from + piece);

		if (find_resident(fd, from, end, page, &cached))
			return true;
		from = end;
	}
	return cached;
}
