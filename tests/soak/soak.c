/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Works on the files of mounts as hard as it can, and knows each byte.
 *
 *   soak --fs BLKSPARSEFS --tools DIR --dir DIR [OPTION...]
 *
 * Each round makes up to four devices, mounts them together, and has up to
 * three processes change them with up to four workers a file: reads, writes,
 * mapped pages, zeros, truncation, searches, fsync, close; and a whole file is
 * cut, punched, resized, or compared with a read-only mount beside it.
 * Meanwhile workers get signals, other callers are killed, descriptors run
 * short and disks fail. Each byte that a worker reads, each hole that it finds,
 * and each byte of the devices at the end is compared with a shadow, which
 * knows what each fsync promised.
 *
 *   --mode write  rounds end with an unmount: a device has the file's bytes
 *          kill   rounds end with SIGKILL: a device has what was synced or
 *                 closed
 *          cut    rounds end with a power cut: disks lose what was not synced
 *          fault  the disks fail now and then, and lose data when a flush fails
 *          read   workers change the devices beside a read-only mount, or
 *                 exchange the files below them
 *                 All are given by default; one may be given several times.
 *   --seed N      of the first round; the next ones have N+1, N+2 and so on.
 *                 Default: by the clock
 *   --rounds N, --seconds N, --round-seconds N
 *                 how long. Default: one round of 5 seconds
 *   --ops N       the operations of a worker. Default: as long as a round takes
 *   --nbd         some devices are exports of nbdkit
 *   --uring       requests by io_uring, which the kernel must offer
 *   --cgroup DIR  the driver runs in that control group
 *   --flat        compare the driver's threads and descriptors with those of
 *                 before
 *   --memory      and its memory
 *   --hang N      seconds that an operation may take. Default: 120
 *   --device PATH use this device as well, up to 64 MiB
 *   --faults COMMAND
 *                 "COMMAND on" has it fail in a window of --mode fault, and
 *                 "COMMAND off" has it work again
 *
 * The seed of a round selects its devices, options and disturbances, and the
 * operations of each worker, one after another. So a seed repeats the
 * operations of a worker up to the first that ends another way. It does not
 * repeat the order among workers and disturbances, which is up to the kernel's
 * scheduler, nor the time of a kill; a fault that needs a certain order may
 * take several runs of its seed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"

void soak_die(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, strerror(errno));
	_exit(2);
}

void *soak_shared(uint64_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		soak_die("memory");
	return memory;
}

int64_t soak_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int usage(void)
{
	fprintf(stderr, "soak: see the top of its source file\n");
	return 2;
}

static bool set_mode(struct settings *settings, const char *name)
{
	static const char *const names[] = { "write", "kill", "cut", "fault",
					     "read" };

	for (unsigned i = 0; i <= SOAK_READ; i++) {
		if (strcmp(name, names[i]) == 0) {
			settings->modes[i] = true;
			return true;
		}
	}
	return false;
}

/* An option without an argument. */
static bool set_flag(struct settings *settings, const char *name)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "--nbd", &settings->nbd },
		{ "--uring", &settings->uring },
		{ "--flat", &settings->flat },
		{ "--memory", &settings->memory },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(name, flags[i].name) == 0) {
			*flags[i].flag = true;
			return true;
		}
	}
	return false;
}

static bool set_text(struct settings *settings, const char *name,
		     const char *value)
{
	const struct {
		const char *name;
		const char **text;
	} texts[] = {
		{ "--fs", &settings->fs },
		{ "--tools", &settings->tools },
		{ "--dir", &settings->dir },
		{ "--cgroup", &settings->cgroup },
		{ "--faults", &settings->faults },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) == 0) {
			*texts[i].text = value;
			return true;
		}
	}
	return false;
}

static bool set_number(struct settings *settings, const char *name,
		       const char *value)
{
	const struct {
		const char *name;
		uint64_t *number;
	} numbers[] = {
		{ "--seed", &settings->seed },
		{ "--rounds", &settings->rounds },
		{ "--seconds", &settings->seconds },
		{ "--round-seconds", &settings->round_seconds },
		{ "--ops", &settings->ops },
		{ "--hang", &settings->hang_seconds },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(name, numbers[i].name) == 0) {
			*numbers[i].number = strtoull(value, NULL, 10);
			return true;
		}
	}
	return false;
}

static bool set_option(struct settings *settings, const char *name,
		       const char *value)
{
	if (strcmp(name, "--mode") == 0)
		return set_mode(settings, value);
	if (strcmp(name, "--device") == 0 && settings->givens < GIVEN_DEVICES) {
		settings->given[settings->givens++] = value;
		return true;
	}
	return set_text(settings, name, value) ||
	       set_number(settings, name, value);
}

static bool parse(struct settings *settings, char **arg)
{
	bool any = false;

	for (; *arg; arg++) {
		if (set_flag(settings, *arg))
			continue;
		if (!arg[1] || !set_option(settings, arg[0], arg[1]))
			return false;
		arg++;
	}
	for (unsigned i = 0; i <= SOAK_READ; i++)
		any = any || settings->modes[i];
	for (unsigned i = 0; i <= SOAK_READ && !any; i++)
		settings->modes[i] = true;
	return settings->fs && settings->tools && settings->dir &&
	       settings->round_seconds;
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.seed = (uint64_t)time(NULL),
		.rounds = 1,
		.round_seconds = 5,
		.hang_seconds = 120,
	};
	struct soak *soak = soak_shared(sizeof(*soak));
	int64_t end;

	if (argc < 2 || !parse(&settings, argv + 1))
		return usage();
	if (settings.seconds)
		settings.rounds = UINT64_MAX;
	end = settings.seconds ? soak_now_ns() + (int64_t)settings.seconds *
							 INT64_C(1000000000)
			       : INT64_MAX;
	for (uint64_t i = 0; i < settings.rounds && soak_now_ns() < end; i++) {
		if (!run_round(&settings, soak, settings.seed + i))
			return 1;
	}
	return 0;
}
