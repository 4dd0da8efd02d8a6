/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks the layers below a loop device for holes beside a program that writes
 * to it, and checks the answers as a map would use them (device/known.h).
 *
 *   known-race DEVICE SECONDS HOW TARGET [OFFSET]
 *
 * A child process writes to TARGET, which is the device's file, its node, or
 * the node of its disk; DEVICE begins at OFFSET there. HOW is write, direct
 * (O_DIRECT), map (a shared mapping) or evict (drops the cached pages after
 * each write). It writes in bursts, and punches holes, so that there always are
 * some to claim. The parent samples, asks, and reads each claim.
 *
 * Between two bursts the answers have to be right at once: a granule that was
 * claimed to be zero, and is not, is wrong. So is one that was claimed between
 * two earlier bursts if the samples have not moved since. Claims during a burst
 * are made to disturb, and are not judged: a write that has moved the change
 * time may still be under way (identity.h).
 */
#include "device/known.h"

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/range.h"
#include "base/zero.h"
#include "blksparse.h"
#include "device/device.h"

enum {
	GRANULE = 4096,
	HOLE = 16, /* granules that are punched at once */
	WRITES = 16,
	ASKED = 64, /* places, after each sample */
	CLAIMS = 1 << 14,
	PAUSE_MS = 60,
	/* Kernels before Linux 6.13 have ticks of up to 10 ms in their change
	 * times: a write in the tick of an earlier one does not show. */
	TICK_MS = 25,
};

/* Shared by the two processes. */
struct shared {
	_Atomic unsigned bursts; /* odd: one is under way */
	_Atomic uint64_t ended_ms;
	_Atomic unsigned judged; /* rounds between two bursts */
};

static struct shared *shared;
static uint64_t granules;

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = (long)ms * 1000000 },
			NULL);
}

/* --- The child --- */

struct writer {
	const char *how;
	uint64_t base;
	int fd;
	char *map, *data;
};

static struct writer writer_new(const char *how, const char *path,
				uint64_t base)
{
	bool direct = strcmp(how, "direct") == 0;
	struct writer w = { .how = how, .base = base };

	w.fd = open(path, O_RDWR | (direct ? O_DIRECT : 0));
	if (w.fd < 0)
		err(2, "%s", path);
	w.data = bsp_buffer_new(GRANULE);
	memset(w.data, 'x', GRANULE);
	if (strcmp(how, "map") == 0) {
		w.map = mmap(NULL, base + granules * GRANULE,
			     PROT_READ | PROT_WRITE, MAP_SHARED, w.fd, 0);
		if (w.map == MAP_FAILED)
			err(2, "mmap");
	}
	return w;
}

static void write_one(const struct writer *w)
{
	uint64_t off = w->base + (uint64_t)random() % granules * GRANULE;

	if (w->map) {
		memcpy(w->map + off, w->data, GRANULE);
		(void)msync(w->map + off, GRANULE, MS_SYNC);
	} else if (pwrite(w->fd, w->data, GRANULE, (off_t)off) != GRANULE) {
		err(2, "pwrite");
	}
	if (strcmp(w->how, "evict") == 0) {
		(void)sync_file_range(w->fd, (off_t)off, GRANULE,
				      SYNC_FILE_RANGE_WAIT_BEFORE |
					      SYNC_FILE_RANGE_WRITE |
					      SYNC_FILE_RANGE_WAIT_AFTER);
		(void)posix_fadvise(w->fd, (off_t)off, GRANULE,
				    POSIX_FADV_DONTNEED);
	}
}

/* Also reserves some of the places: their blocks read as zeros, too. */
static void punch_one(const struct writer *w)
{
	uint64_t off = w->base + (uint64_t)random() % (granules / HOLE) *
					 (HOLE * GRANULE);

	if (fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)off, HOLE * GRANULE))
		err(2, "fallocate");
	if (random() % 2)
		(void)fallocate(w->fd, FALLOC_FL_KEEP_SIZE, (off_t)off,
				HOLE * GRANULE);
}

static void write_until_killed(const struct writer *w)
{
	for (;;) {
		unsigned n = (unsigned)random() % WRITES, judged;

		atomic_fetch_add(&shared->bursts, 1);
		for (unsigned i = 0; i < n; i++) {
			write_one(w);
			if (i % HOLE == 0)
				punch_one(w);
		}
		atomic_store(&shared->ended_ms, now_ms());
		judged = atomic_load(&shared->judged);
		atomic_fetch_add(&shared->bursts, 1);
		do
			pause_ms(TICK_MS + (unsigned)random() % PAUSE_MS);
		while (atomic_load(&shared->judged) == judged);
	}
}

static pid_t start_writer(const char *how, const char *path, uint64_t base)
{
	pid_t pid = fork();
	struct writer w;

	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom((unsigned)getpid());
	w = writer_new(how, path, base);
	write_until_killed(&w);
	return -1;
}

/* --- The parent --- */

static struct {
	struct bsp_device *dev;
	char *buf;
	struct bsp_content content; /* the last sample */
	uint64_t generation;	    /* as of a map */
	uint64_t claims[CLAIMS];    /* of this generation, to be judged */
	unsigned n;
	unsigned long asked, judged, moves, wrong, outlived;
} race;

static bool is_zero(uint64_t off)
{
	ssize_t n = bsp_device_read_all(race.dev, off, race.buf, GRANULE);

	if (n != GRANULE)
		errx(2, "cannot read %" PRIu64, off);
	return bsp_is_zero(race.buf, GRANULE);
}

/* As a map does: a sample that differs ends the generation and all claims. */
static void sample(void)
{
	struct bsp_content was = race.content;

	race.dev->ops->content(race.dev, &race.content);
	if (!race.content.counted)
		errx(2, "the device does not count writes");
	if (race.generation && bsp_content_equal(&was, &race.content))
		return;
	race.generation++;
	race.moves++;
	race.n = 0;
}

/* Asks about places, and sets the claims. Returns how many there are. */
static unsigned ask(uint64_t claims[ASKED])
{
	uint64_t size = granules * GRANULE;
	unsigned n = 0;

	for (unsigned i = 0; i < ASKED; i++) {
		uint64_t off = (uint64_t)random() % granules * GRANULE;
		struct bsp_known_answer answer = race.dev->ops->known(
			race.dev, race.generation, true, off, size);

		if (answer.zeros && answer.end >= off + GRANULE)
			claims[n++] = off;
	}
	race.asked += ASKED;
	return n;
}

static unsigned count_wrong(const uint64_t *claims, unsigned n)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < n; i++)
		wrong += !is_zero(claims[i]);
	return wrong;
}

static bool is_quiet(unsigned *ret_bursts)
{
	*ret_bursts = atomic_load(&shared->bursts);
	return *ret_bursts % 2 == 0 &&
	       now_ms() - atomic_load(&shared->ended_ms) >= TICK_MS;
}

static void go_round(void)
{
	uint64_t claims[ASKED];
	unsigned bursts, n, wrong, old;
	bool quiet = is_quiet(&bursts);

	sample();
	n = ask(claims);
	old = quiet ? count_wrong(race.claims, race.n) : 0;
	wrong = count_wrong(claims, n);
	if (!quiet || atomic_load(&shared->bursts) != bursts)
		return;
	atomic_fetch_add(&shared->judged, 1);
	race.judged += n;
	race.wrong += wrong;
	race.outlived += old;
	for (unsigned i = 0; i < n && race.n < CLAIMS; i++)
		race.claims[race.n++] = claims[i];
}

static void open_device(const char *path)
{
	const char *trust = getenv("KNOWN");
	enum bsp_known_trust known;
	struct bsp_device_info info;
	GError *error = NULL;

	race.dev = bsp_device_open(path, &error);
	if (!race.dev ||
	    !bsp_known_from_name(trust ? trust : "auto", &known, &error))
		errx(2, "%s", error->message);
	race.dev->ops->set_trust(race.dev, known);
	bsp_device_get_info(race.dev, &info);
	granules = info.size / GRANULE;
	race.buf = bsp_buffer_new(GRANULE);
}

int main(int argc, char **argv)
{
	uint64_t end;
	pid_t pid;

	if (argc < 5)
		errx(2, "usage: known-race DEVICE SECONDS HOW TARGET [OFFSET]");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	open_device(argv[1]);
	pid = start_writer(argv[3], argv[4],
			   argc > 5 ? strtoull(argv[5], NULL, 10) : 0);
	end = now_ms() + strtoull(argv[2], NULL, 10) * 1000;
	while (now_ms() < end)
		go_round();
	if (waitpid(pid, NULL, WNOHANG))
		errx(2, "the writer has ended");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	printf("%u bursts, %lu changes seen, %lu places asked, "
	       "%lu claims judged, %lu wrong, %lu outlived a write\n",
	       atomic_load(&shared->bursts) / 2, race.moves, race.asked,
	       race.judged, race.wrong, race.outlived);
	bsp_device_close(race.dev);
	free(race.buf);
	return race.wrong || race.outlived || !race.judged ? 1 : 0;
}
