/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks the layers below a block device for its holes (device/known.h).
 *
 *   known-layers DEVICE          prints a line for each answer, "zeros OFFSET
 *                                LENGTH" or "unknown OFFSET LENGTH", and reads
 *                                what was claimed to be zero
 *   known-layers DEVICE SECONDS  asks for so long beside a writer, then looks
 *                                at all that was claimed once more
 *
 * A claim that is not true is an error, unless the sample of the device's
 * identity has moved since the one before the claim: then a map would have
 * forgotten it. KNOWN in the environment is a value of --known; default auto.
 */
#include "device/known.h"

#include <err.h>
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

enum {
	GRANULE = 4096,
	PIECE = 1 << 20,
	READ_MAX = 64 << 20, /* of claims that are read whole */
	CLAIMS_MAX = 1 << 20,
	ASKED = 64, /* places, after each sample */
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

/* --- Beside a writer --- */

struct claim {
	uint64_t off;
	unsigned sample; /* which one came before it */
};

static struct bsp_content *samples;
static struct claim *claims;

static int race(unsigned seconds)
{
	const struct timespec pause = { .tv_sec = SETTLE_SECONDS };
	uint64_t size = device_size() / GRANULE * GRANULE;
	time_t end = time(NULL) + (time_t)seconds;
	unsigned n = 0, sample = 0, wrong = 0, stale = 0;
	struct bsp_content now;

	samples = calloc(CLAIMS_MAX, sizeof(*samples));
	claims = calloc(CLAIMS_MAX, sizeof(*claims));
	if (!samples || !claims)
		errx(2, "no memory");
	while (time(NULL) < end && n < CLAIMS_MAX - ASKED) {
		dev->ops->content(dev, &samples[sample]);
		for (unsigned i = 0; i < ASKED; i++) {
			uint64_t off = (uint64_t)random() * GRANULE % size;
			struct bsp_known_answer answer =
				dev->ops->known(dev, sample, true, off, size);

			if (answer.zeros && answer.end >= off + GRANULE)
				claims[n++] = (struct claim){ off, sample };
		}
		sample++;
	}
	/* The writer has ended by now; its times settle. */
	(void)nanosleep(&pause, NULL);
	dev->ops->content(dev, &now);
	if (!now.counted || !n)
		errx(2, "nothing was claimed, or nothing counts writes");
	for (unsigned i = 0; i < n; i++) {
		if (reads_as_zeros(claims[i].off, GRANULE))
			continue;
		stale++;
		wrong += bsp_content_equal(&samples[claims[i].sample], &now);
	}
	printf("%u claims, %u written since, %u wrong\n", n, stale, wrong);
	return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *trust = getenv("KNOWN");
	enum bsp_known_trust known;
	GError *error = NULL;
	int status;

	if (argc < 2)
		errx(2, "usage: known-layers DEVICE [SECONDS]");
	dev = bsp_device_open(argv[1], &error);
	if (!dev)
		errx(2, "%s", error->message);
	buf = bsp_buffer_new(PIECE);
	if (!buf || !dev->ops->known)
		errx(2, "%s cannot be asked", argv[1]);
	if (!bsp_known_from_name(trust ? trust : "auto", &known, &error))
		errx(2, "%s", error->message);
	dev->ops->set_trust(dev, known);
	srandom((unsigned)getpid());
	status = argc > 2 ? race((unsigned)atoi(argv[2])) : list();
	free(buf);
	free(samples);
	free(claims);
	bsp_device_close(dev);
	return status;
}
