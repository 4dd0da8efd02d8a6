/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks the layers below a block device for its holes (device/known.h).
 *
 *   known-layers DEVICE          prints a line for each answer, "zeros OFFSET
 *                                LENGTH" or "unknown OFFSET LENGTH", and reads
 *                                what was claimed to be zero
 *   known-layers DEVICE SECONDS  asks for so long beside a writer, reads each
 *                                claim at once, and many of them at the end
 *   known-layers DEVICE SECONDS METADATA VOLUME
 *                                does the same, but the answers come from the
 *                                metadata device of the pool of that volume, as
 *                                it is: without having the pool commit
 *
 * A claim that is not true is an error, unless the sample of the device's
 * identity has moved since the one before the claim: then a map would have
 * forgotten it. A claim was read at rest if no such move came before the end of
 * its read.
 *
 * In the environment: KNOWN is a value of --known, default auto; WRITABLE=1
 * opens the device for writing; BETWEEN is a command that the shell runs after
 * the device was opened, before the first question.
 */
#include "device/known.h"

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/range.h"
#include "base/zero.h"
#include "blksparse.h"
#include "device/device.h"
#include "device/thin-tree.h"

enum {
	GRANULE = 4096,
	PIECE = 1 << 20,
	READ_MAX = 64 << 20, /* of claims that are read whole */
	CLAIMS_MAX = 1 << 20,
	ASKED = 64,	   /* places, after each sample */
	LAST_READS = 2048, /* about so many at most, at the end */
	PAUSE_NS = 20000000,
	SETTLE_SECONDS = BSP_SETTLE_SECONDS + 1,
};

static struct bsp_device *dev;
static char *buf;

static uint64_t device_size(void)
{
	struct bsp_device_info info;

	bsp_device_get_info(dev, &info);
	return info.size;
}

static bool reads_as_zeros(uint64_t off, uint64_t len)
{
	while (len) {
		size_t n = (size_t)bsp_min(len, PIECE);
		ssize_t got = bsp_device_read_all(dev, off, buf, n);

		if (got != (ssize_t)n)
			errx(2, "cannot read %" PRIu64, off);
		if (!bsp_is_zero(buf, n))
			return false;
		off += n;
		len -= n;
	}
	return true;
}

static int list(void)
{
	uint64_t size = device_size(), off = 0, left = READ_MAX;
	int status = 0;

	while (off < size) {
		struct bsp_known_answer answer =
			dev->ops->known(dev, 0, true, off, size);
		uint64_t len = answer.end - off;

		if (answer.end <= off || answer.end > size)
			errx(2, "an answer of [%" PRIu64 ", %" PRIu64 ")", off,
			     answer.end);
		printf("%s %" PRIu64 " %" PRIu64 "\n",
		       answer.zeros ? "zeros" : "unknown", off, len);
		if (answer.zeros && left) {
			uint64_t most = bsp_min(len, left);

			left -= most;
			if (!reads_as_zeros(off, most)) {
				warnx("[%" PRIu64 ", %" PRIu64 ") is not zero",
				      off, answer.end);
				status = 1;
			}
		}
		off = answer.end;
	}
	return status;
}

/* --- Without a commit --- */

static int metadata = -1;
static struct bsp_thin_tree tree;
static bool is_open; /* the tree, since the last sample */

static int read_block(void *data, uint64_t block, void *to)
{
	return pread(metadata, to, BSP_THIN_BLOCK,
		     (off_t)(block * BSP_THIN_BLOCK)) == BSP_THIN_BLOCK
		       ? 0
		       : -1;
}

static void open_metadata(const char *path)
{
	metadata = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (metadata < 0)
		err(2, "%s", path);
	tree.read = read_block;
	tree.memory = bsp_buffer_new(BSP_THIN_MEMORY);
	if (!tree.memory)
		errx(2, "no memory");
}

/* The walk is right: it starts over if the pool committed during it. */
static struct bsp_known_answer ask_uncommitted(uint64_t volume, uint64_t off,
					       uint64_t limit)
{
	struct bsp_thin_run run;
	int r;

	do {
		r = is_open ? 0 : bsp_thin_tree_open(&tree, volume);
		if (!r)
			r = bsp_thin_tree_find(&tree, off / tree.block_size,
					       &run);
		is_open = !tree.fresh || bsp_thin_tree_is_current(&tree) == 1;
	} while (!is_open);
	if (r || run.mapped)
		return (struct bsp_known_answer){ false, limit };
	return (struct bsp_known_answer){ true,
					  run.end < limit / tree.block_size
						  ? run.end * tree.block_size
						  : limit };
}

/* --- Beside a writer --- */

struct claim {
	uint64_t off;
	unsigned sample; /* the one before it */
};

static struct {
	struct bsp_content *samples; /* each differs from the one before */
	struct claim *claims;
	unsigned n_samples, n_claims;
	unsigned at_rest, stale, wrong;
	uint64_t volume; /* whose metadata is asked without a commit */
} race;

static void take_sample(void)
{
	struct bsp_content *next = &race.samples[race.n_samples];

	dev->ops->content(dev, next);
	if (!race.n_samples || !bsp_content_equal(next - 1, next))
		race.n_samples++;
}

/* Asks about places after the last sample. Returns false if the layers cannot
 * be asked yet. */
static bool claim(uint64_t size)
{
	unsigned sample = race.n_samples - 1;

	is_open = false;
	for (unsigned i = 0; i < ASKED; i++) {
		uint64_t off = (uint64_t)random() * GRANULE % size;
		struct bsp_known_answer answer =
			metadata >= 0
				? ask_uncommitted(race.volume, off, size)
				: dev->ops->known(dev, sample, true, off, size);

		if (answer.end == off)
			return false;
		if (answer.zeros && answer.end >= off + GRANULE)
			race.claims[race.n_claims++] =
				(struct claim){ off, sample };
	}
	return true;
}

/* Reads the claims from first on; returns how many are not zero. */
static unsigned count_nonzero(unsigned first)
{
	unsigned n = 0;

	for (unsigned i = first; i < race.n_claims; i++)
		n += !reads_as_zeros(race.claims[i].off, GRANULE);
	return n;
}

static void claim_and_read(uint64_t size)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	unsigned first = race.n_claims, sample, nonzero;

	take_sample();
	sample = race.n_samples;
	if (!claim(size)) {
		(void)nanosleep(&pause, NULL);
		return;
	}
	nonzero = count_nonzero(first);
	take_sample();
	if (sample == race.n_samples) {
		race.at_rest += race.n_claims - first;
		race.wrong += nonzero;
	}
}

static int run_race(unsigned seconds)
{
	const struct timespec pause = { .tv_sec = SETTLE_SECONDS };
	uint64_t size = device_size() / GRANULE * GRANULE;
	time_t end = time(NULL) + (time_t)seconds;
	unsigned last, step;

	race.samples = calloc(CLAIMS_MAX, sizeof(*race.samples));
	race.claims = calloc(CLAIMS_MAX, sizeof(*race.claims));
	if (!race.samples || !race.claims)
		errx(2, "no memory");
	while (time(NULL) < end && race.n_claims < CLAIMS_MAX - ASKED &&
	       race.n_samples < CLAIMS_MAX - 4)
		claim_and_read(size);
	/* The writer has ended by now; its times settle. */
	(void)nanosleep(&pause, NULL);
	take_sample();
	last = race.n_samples - 1;
	if (!race.samples[last].counted || !race.n_claims)
		errx(2, "nothing was claimed, or nothing counts writes");
	step = 1 + race.n_claims / LAST_READS;
	for (unsigned i = 0; i < race.n_claims; i += step) {
		if (reads_as_zeros(race.claims[i].off, GRANULE))
			continue;
		race.stale++;
		race.wrong += race.claims[i].sample == last;
	}
	printf("%u claims, %u read at rest, %u written since, %u wrong\n",
	       race.n_claims, race.at_rest, race.stale, race.wrong);
	return race.wrong ? 1 : 0;
}

static void open_device(const char *path)
{
	const char *trust = getenv("KNOWN"), *between = getenv("BETWEEN");
	enum bsp_known_trust known;
	GError *error = NULL;

	dev = getenv("WRITABLE") ? bsp_device_open_writable(path, &error)
				 : bsp_device_open(path, &error);
	if (!dev)
		errx(2, "%s", error->message);
	if (!dev->ops->known)
		errx(2, "%s cannot be asked", path);
	if (!bsp_known_from_name(trust ? trust : "auto", &known, &error))
		errx(2, "%s", error->message);
	dev->ops->set_trust(dev, known);
	if (between && system(between) != 0)
		errx(2, "%s failed", between);
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 2)
		errx(2,
		     "usage: known-layers DEVICE [SECONDS [METADATA VOLUME]]");
	open_device(argv[1]);
	buf = bsp_buffer_new(PIECE);
	if (!buf)
		errx(2, "no memory");
	if (argc > 4) {
		open_metadata(argv[3]);
		race.volume = strtoull(argv[4], NULL, 10);
	}
	srandom((unsigned)getpid());
	status = argc > 2 ? run_race((unsigned)atoi(argv[2])) : list();
	free(buf);
	free(race.samples);
	free(race.claims);
	bsp_device_close(dev);
	return status;
}
