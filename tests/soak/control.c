/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A round: devices, a mount, processes with workers, and disturbances of all of
 * them; then the end, and a look at the devices.
 */
#include "parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

#define SECOND_NS INT64_C(1000000000)

enum {
	QUIET_SECONDS = 3, /* until the driver has given back what it needs */
};

struct round {
	const struct settings *settings;
	struct soak *soak;
	struct dice dice;
	struct disk disk[SOAK_FILES];
	struct driver driver, reader;
	pid_t process[SOAK_PROCESSES], victim;
	unsigned processes;
	bool has_victims, shorts_descriptors;
	int64_t window_ends, room_ends;
	struct sample before;
	bool sampled;
	uint64_t signals, victims, windows;
};

/* --- Set up --- */

static const char *const mode_names[] = {
	[SOAK_WRITE] = "write", [SOAK_KILL] = "kill", [SOAK_CUT] = "cut",
	[SOAK_FAULT] = "fault", [SOAK_READ] = "read",
};

static const char *const kind_names[] = {
	[SOAK_LOOP] = "loop",	  [SOAK_IMAGE] = "image", [SOAK_NBD] = "nbd",
	[SOAK_LOSING] = "losing", [SOAK_GIVEN] = "given",
};

/* One throw, so that the seed repeats a round with its mode alone. */
static enum soak_mode pick_mode(struct round *r)
{
	enum soak_mode modes[SOAK_READ + 1];
	unsigned count = 0;

	for (unsigned i = 0; i <= SOAK_READ; i++)
		if (r->settings->modes[i])
			modes[count++] = (enum soak_mode)i;
	return modes[dice_below(&r->dice, count)];
}

static enum soak_kind pick_kind(struct round *r, unsigned number)
{
	const struct settings *settings = r->settings;
	bool by_nbd = settings->nbd && dice_chance(&r->dice, 250);

	if (number < settings->givens)
		return SOAK_GIVEN;
	if (r->soak->mode == SOAK_CUT)
		return SOAK_LOSING;
	if (by_nbd && r->soak->mode != SOAK_READ)
		return SOAK_NBD;
	if (r->soak->mode == SOAK_FAULT)
		return SOAK_LOSING;
	return dice_chance(&r->dice, 250) ? SOAK_IMAGE : SOAK_LOOP;
}

static void plan_file(struct round *r, unsigned number)
{
	struct soak *soak = r->soak;
	struct soak_file *file = &soak->file[number];
	bool node = soak->mode == SOAK_READ;

	memset(file, 0, sizeof(*file));
	file->kind = pick_kind(r, number);
	if (file->kind == SOAK_GIVEN)
		(void)snprintf(file->device, sizeof(file->device), "%s",
			       r->settings->given[number]);
	file->stripes = 1 + (unsigned)dice_below(&r->dice, SOAK_STRIPES);
	file->mapped = node || dice_chance(&r->dice, 500);
	file->block = dice_chance(&r->dice, 300) ? 4096 : 512;
	file->resizes = !node && file->kind == SOAK_LOOP &&
			soak->mode != SOAK_CUT && file->block == 512;
	file->exchanges =
		node && file->kind == SOAK_LOOP && dice_chance(&r->dice, 300);
	(void)snprintf(file->name, sizeof(file->name), "f%u", number);
	(void)snprintf(file->path, sizeof(file->path), "%s/mnt/f%u",
		       r->settings->dir, number);
	if (soak->mode == SOAK_WRITE &&
	    (file->kind == SOAK_LOOP || file->kind == SOAK_IMAGE))
		(void)snprintf(file->reader_path, sizeof(file->reader_path),
			       "%s/reader/f%u", r->settings->dir, number);
	soak->workers += file->stripes;
}

static void plan(struct round *r, char *options, size_t room)
{
	static const char *const zero[] = { "unmap", "keep", "write" };
	static const char *const known[] = { "auto", "all", "off" };
	static const unsigned granules[] = { 4, 4, 16, 64, 256 };
	struct soak *soak = r->soak;
	struct dice *dice = &r->dice;
	unsigned kib = granules[dice_below(dice, 5)];
	bool skips = dice_chance(dice, 150), shows = !dice_chance(dice, 150);

	soak->granule = kib * UINT64_C(1024);
	soak->shows_holes = shows;
	soak->closes_count = soak->mode == SOAK_KILL;
	soak->ops = r->settings->ops;
	(void)snprintf(
		options, room,
		"%s,granule=%uK,zero=%s,known=%s,unshared%s%s%s%s%s,log=%s",
		soak->mode == SOAK_READ ? "ro" : "rw", kib,
		zero[dice_below(dice, 3)], known[dice_below(dice, 3)],
		skips && soak->mode != SOAK_READ ? ",same=skip" : "",
		shows ? "" : ",minhole=128K",
		dice_chance(dice, 200) ? ",scan=background" : "",
		dice_chance(dice, 300) ? ",lookahead=1M" : "",
		r->settings->uring ? "" : ",uring=off",
		dice_chance(dice, 100) ? "debug" : "info");
	if (soak->mode == SOAK_READ) {
		char *zeroing = strstr(options, "zero=");
		char *end = strchr(zeroing, ',');

		memmove(zeroing, end + 1, strlen(end));
	}
}

static void make_files(struct round *r)
{
	unsigned files = 1 + (unsigned)dice_below(&r->dice, SOAK_FILES);

	r->soak->workers = 0;
	r->soak->files = (unsigned)soak_max(files, r->settings->givens);
	for (unsigned i = 0; i < r->soak->files; i++) {
		plan_file(r, i);
		disk_make(&r->disk[i], &r->soak->file[i], r->settings, i,
			  &r->dice);
	}
}

static void print_plan(const struct round *r, const char *options)
{
	const struct soak *soak = r->soak;

	printf("seed %" PRIu64 " mode %s -o %s:", soak->seed,
	       mode_names[soak->mode], options);
	for (unsigned i = 0; i < soak->files; i++) {
		const struct soak_file *file = &soak->file[i];

		printf(" %s(%" PRIu64 ", %u)%s%s%s", kind_names[file->kind],
		       file->capacity, file->stripes,
		       file->mapped ? " mapped" : "",
		       file->resizes ? " resizes" : "",
		       file->exchanges ? " exchanged" : "");
	}
	printf("; %u processes%s%s%s\n", r->processes,
	       r->has_victims ? ", victims" : "",
	       r->shorts_descriptors ? ", few descriptors" : "",
	       soak->file[0].reader_path[0] ? ", a reader" : "");
	(void)fflush(stdout);
}

/* --- Processes --- */

static void start_worker(struct soak *soak, unsigned number, unsigned file,
			 unsigned stripe, pthread_t *thread)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		soak_die("memory");
	w->soak = soak;
	w->file = &soak->file[file];
	w->stripe = &w->file->stripe[stripe];
	w->state = &soak->worker[number];
	w->number = stripe;
	w->owns_end = stripe + 1 == w->file->stripes;
	w->choices = (struct choices){
		.dice.state = soak->seed * 1000003 + number,
		.granule = soak->granule,
		.longest = SOAK_LONGEST,
	};
	if (pthread_create(thread, NULL, work_main, w))
		soak_die("thread");
}

static _Noreturn void worker_process(const struct round *r, unsigned process)
{
	pthread_t threads[SOAK_WORKERS];
	unsigned started = 0, number = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < r->soak->files; i++)
		for (unsigned k = 0; k < r->soak->file[i].stripes; k++)
			if (number++ % r->processes == process)
				start_worker(r->soak, number - 1, i, k,
					     &threads[started++]);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

/* Opens, reads, searches, syncs and closes, until it is killed. */
static _Noreturn void victim_process(const struct round *r)
{
	struct dice dice = { (uint64_t)soak_now_ns() };
	int mode = r->soak->mode == SOAK_READ ? O_RDONLY : O_RDWR;
	char buf[65536];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		uint64_t i = dice_below(&dice, r->soak->files);
		const struct soak_file *file = &r->soak->file[i];
		off_t off = (off_t)dice_below(&dice, file->capacity);
		int fd = open(file->path, mode | O_CLOEXEC);

		(void)!pread(fd, buf, sizeof(buf), off);
		(void)lseek(fd, off, SEEK_DATA);
		if (dice_chance(&dice, 500))
			(void)fsync(fd);
		(void)close(fd);
	}
}

static void start_processes(struct round *r)
{
	memset(r->soak->worker, 0, sizeof(r->soak->worker));
	(void)fflush(NULL);
	for (unsigned i = 0; i < r->processes; i++) {
		r->process[i] = fork();
		if (r->process[i] < 0)
			soak_die("fork");
		if (r->process[i] == 0)
			worker_process(r, i);
	}
}

static void end_victim(struct round *r)
{
	int status;

	if (!r->victim)
		return;
	(void)kill(r->victim, SIGKILL);
	if (!wait_for(r->victim, (unsigned)r->settings->hang_seconds,
		      &status)) {
		fprintf(stderr, "WRONG: a killed caller does not end\n");
		atomic_store(&r->soak->failed, true);
	}
	r->victim = 0;
}

/* Kills the caller that may be killed, or starts one. */
static void disturb_victim(struct round *r)
{
	if (r->victim) {
		end_victim(r);
		return;
	}
	r->victims++;
	(void)fflush(NULL);
	r->victim = fork();
	if (r->victim == 0)
		victim_process(r);
}

/* Whether the processes of the workers are as they should be; sets *ret_left to
 * the number of those that have not ended. */
static bool processes_are_well(struct round *r, unsigned *ret_left)
{
	*ret_left = 0;
	for (unsigned i = 0; i < r->processes; i++) {
		int status;

		if (!r->process[i])
			continue;
		if (waitpid(r->process[i], &status, WNOHANG) == 0) {
			(*ret_left)++;
			continue;
		}
		r->process[i] = 0;
		if (status) {
			fprintf(stderr, "soak: workers ended with %#x\n",
				(unsigned)status);
			return false;
		}
	}
	return true;
}

static void kill_processes(struct round *r)
{
	for (unsigned i = 0; i < r->processes; i++) {
		if (!r->process[i])
			continue;
		(void)kill(r->process[i], SIGKILL);
		(void)waitpid(r->process[i], NULL, 0);
		r->process[i] = 0;
	}
}

/* --- Watching --- */

static void print_stacks(pid_t pid)
{
	char command[128];

	(void)snprintf(command, sizeof(command),
		       "tail -n +1 /proc/%d/task/*/stack >&2", pid);
	/* Nothing depends on it: the log has the stacks or lacks them. */
	(void)!system(command);
}

static bool hangs(struct round *r)
{
	int64_t limit =
		soak_now_ns() - (int64_t)r->settings->hang_seconds * SECOND_NS;

	for (unsigned i = 0; i < r->soak->workers; i++) {
		struct worker_state *state = &r->soak->worker[i];
		int64_t began = atomic_load(&state->began);

		if (!began || began > limit)
			continue;
		fprintf(stderr,
			"WRONG: seed %" PRIu64 ": worker %u hangs in operation "
			"%" PRIu64 ", %s\n",
			r->soak->seed, i, atomic_load(&state->op), state->what);
		print_stacks(r->driver.pid);
		return true;
	}
	return false;
}

static bool all_is_well(struct round *r, unsigned *ret_left)
{
	bool well = processes_are_well(r, ret_left);
	bool ending = atomic_load(&r->soak->ending);

	if (!ending)
		well = driver_runs(&r->driver) && well;
	if (r->reader.pid)
		well = driver_runs(&r->reader) && well;
	for (unsigned i = 0; i < r->soak->files; i++)
		well = disk_is_well(&r->disk[i], &r->soak->file[i], ending) &&
		       well;
	return well && !hangs(r) && !atomic_load(&r->soak->failed);
}

/* --- Disturbances --- */

static void send_signal(struct round *r)
{
	static const int signals[] = { SIGUSR1, SIGUSR2, SIGALRM };
	uint64_t i = dice_below(&r->dice, r->soak->workers);
	int tid = atomic_load(&r->soak->worker[i].tid);
	pid_t process = r->process[i % r->processes];

	if (!tid || !process)
		return;
	r->signals++;
	(void)syscall(SYS_tgkill, process, tid,
		      signals[dice_below(&r->dice, 3)]);
}

static void count_window(struct soak *soak)
{
	for (unsigned i = 0; i < soak->files; i++)
		atomic_fetch_add(&soak->file[i].windows, 1);
}

/* Begins or ends a window, in which requests may fail. */
static void open_windows(struct round *r, bool on)
{
	if (on)
		count_window(r->soak);
	for (unsigned i = 0; i < r->soak->files; i++)
		disk_faults(&r->disk[i], &r->soak->file[i], r->settings, on,
			    &r->dice);
	if (!on)
		count_window(r->soak);
	r->windows += on;
	r->window_ends = 0;
	if (on)
		r->window_ends = soak_now_ns() +
				 (int64_t)(20 + dice_below(&r->dice, 1000)) *
					 (SECOND_NS / 1000);
}

static void disturb_disks(struct round *r)
{
	if (r->window_ends) {
		if (soak_now_ns() >= r->window_ends)
			open_windows(r, false);
	} else if (dice_chance(&r->dice, 20)) {
		open_windows(r, true);
	}
}

/*
 * The driver gets no new descriptor for a while. By io_uring it then gets no
 * new thread either, and a request that needs one fails with ENOMEM. So there
 * it is a window, too.
 */
static void set_room(struct round *r, bool has)
{
	struct rlimit limit = { .rlim_cur = has ? 4096 : 3, .rlim_max = 4096 };

	if (!has && r->settings->uring)
		count_window(r->soak);
	(void)prlimit(r->driver.pid, RLIMIT_NOFILE, &limit, NULL);
	if (has && r->settings->uring)
		count_window(r->soak);
	r->room_ends = 0;
	if (!has)
		r->room_ends = soak_now_ns() + SECOND_NS / 2;
}

static void disturb_descriptors(struct round *r)
{
	if (r->room_ends) {
		if (soak_now_ns() >= r->room_ends)
			set_room(r, true);
	} else if (dice_chance(&r->dice, 10)) {
		set_room(r, false);
	}
}

/* As if memory was short: the kernel drops the pages of a node that are
 * clean. */
static void drop_pages(struct round *r)
{
	uint64_t i = dice_below(&r->dice, r->soak->files);
	int fd = open(r->soak->file[i].device, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return; /* an export */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(fd);
}

static void disturb(struct round *r)
{
	if (dice_chance(&r->dice, 100))
		drop_pages(r);
	if (dice_chance(&r->dice, 300))
		send_signal(r);
	if (r->has_victims && dice_chance(&r->dice, 40))
		disturb_victim(r);
	if (r->soak->mode == SOAK_FAULT)
		disturb_disks(r);
	if (r->shorts_descriptors)
		disturb_descriptors(r);
}

static void end_disturbances(struct round *r)
{
	end_victim(r);
	if (r->window_ends)
		open_windows(r, false);
	if (r->room_ends && r->driver.pid)
		set_room(r, true);
}

/* --- The driver's needs --- */

static bool all_are_idle(const struct round *r)
{
	for (unsigned i = 0; i < r->soak->workers; i++)
		if (atomic_load(&r->soak->worker[i].tid) &&
		    !atomic_load(&r->soak->worker[i].idle))
			return false;
	return true;
}

/* Has all workers wait, until the driver has nothing to do. */
static bool sample_quietly(struct round *r, struct sample *ret_sample)
{
	unsigned left;

	end_disturbances(r);
	atomic_store(&r->soak->pause, true);
	while (!all_are_idle(r)) {
		if (!all_is_well(r, &left))
			return false;
		(void)usleep(10000);
	}
	(void)sleep(QUIET_SECONDS);
	*ret_sample = driver_sample(&r->driver);
	atomic_store(&r->soak->pause, false);
	return true;
}

/*
 * Each thread keeps a buffer for a request and one for its answer, of up to
 * 1 MiB, once it has had a long one. The pool of threads keeps those that it
 * once needed at the same time; by io_uring each has a descriptor. The C
 * library does not give all back that was freed. All of this ends with time,
 * and does not grow with the number of operations. The kernel adds requests of
 * its own: the write-back of mapped pages, and what it reads ahead.
 */
static bool is_flat(const struct round *r, const struct sample *now)
{
	const struct sample *was = &r->before;
	uint64_t kib = (8 + 2 * now->threads) << 10;
	uint64_t more = now->threads - soak_min(now->threads, was->threads);
	bool flat = now->descriptors <= was->descriptors + more &&
		    now->threads <= was->threads + 2 * (r->soak->workers +
							r->soak->files) &&
		    (!r->settings->memory ||
		     now->memory <= soak_max(kib, was->memory + (8 << 10)));

	printf("the driver's threads, descriptors, KiB: %" PRIu64 " %" PRIu64
	       " %" PRIu64 ", at the end %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
	       was->threads, was->descriptors, was->memory, now->threads,
	       now->descriptors, now->memory);
	if (!flat)
		fprintf(stderr, "WRONG: the driver needs more at the end\n");
	return flat;
}

/* --- Ends --- */

static bool wait_for_workers(struct round *r)
{
	unsigned left;

	for (;;) {
		if (!all_is_well(r, &left))
			return false;
		if (!left)
			return true;
		(void)usleep(5000);
	}
}

static bool end_well(struct round *r)
{
	end_disturbances(r);
	atomic_store(&r->soak->stop, true);
	if (!wait_for_workers(r))
		return false;
	if (!driver_unmount(&r->reader, false))
		return false;
	return driver_unmount(&r->driver, dice_chance(&r->dice, 300));
}

static bool end_badly(struct round *r)
{
	atomic_store(&r->soak->ending, true);
	for (unsigned i = 0; i < r->soak->files; i++)
		if (r->soak->mode == SOAK_CUT)
			disk_cut(&r->disk[i]);
	if (!driver_kill(&r->driver))
		return false;
	end_disturbances(r);
	return wait_for_workers(r);
}

/* Prints the parts in which a device is wrong, to tell a lost sector from a
 * lost write. */
static void print_wrong_parts(const struct soak_file *file,
			      const unsigned char *bytes, uint64_t end)
{
	uint64_t from = 0, to;
	unsigned parts = 0;

	for (; parts < 20; parts++) {
		while (from < end && bytes[from] == file->now[from])
			from++;
		for (to = from; to < end && bytes[to] != file->now[to];)
			to++;
		if (from == end)
			break;
		fprintf(stderr, "  [%" PRIu64 ", %" PRIu64 ")\n", from, to);
		from = to;
	}
}

static bool check_device(struct round *r, unsigned number, bool well)
{
	struct soak_file *file = &r->soak->file[number];
	uint64_t end = well ? atomic_load(&file->len) : file->capacity;
	unsigned char *bytes = malloc(file->capacity);
	bool right = true;

	if (!bytes)
		soak_die("memory");
	disk_read(&r->disk[number], file, bytes);
	for (uint64_t at = 0; at < end && right; at++) {
		right = well ? bytes[at] == file->now[at]
			     : shadow_may_hold(file, at, bytes[at]);
		if (!right)
			fprintf(stderr,
				"WRONG: seed %" PRIu64 ": at the end byte "
				"%" PRIu64 " of the device of %s is %#x, not "
				"%#x (last promised: %#x); the file ended at "
				"%" PRIu64 "\n",
				r->soak->seed, at, file->name, bytes[at],
				file->now[at], file->base[at],
				atomic_load(&file->len));
	}
	if (!right && well)
		print_wrong_parts(file, bytes, end);
	free(bytes);
	return right;
}

static bool check_devices(struct round *r, bool well)
{
	bool right = true;

	for (unsigned i = 0; i < r->soak->files; i++)
		right = check_device(r, i, well) && right;
	return right;
}

static void clean_up(struct round *r)
{
	atomic_store(&r->soak->ending, true);
	(void)driver_kill(&r->driver);
	(void)driver_kill(&r->reader);
	end_victim(r);
	kill_processes(r);
	for (unsigned i = 0; i < r->soak->files; i++) {
		struct soak_file *file = &r->soak->file[i];

		disk_end(&r->disk[i]);
		(void)munmap(file->now, file->max);
		(void)munmap(file->base, file->max);
		(void)munmap(file->loose, file->max);
	}
}

/* --- The round --- */

static bool run_for(struct round *r, int64_t ns)
{
	int64_t end = soak_now_ns() + ns;
	unsigned left = 1;

	while (soak_now_ns() < end && left) {
		if (!all_is_well(r, &left))
			return false;
		disturb(r);
		(void)usleep((unsigned)(2000 + dice_below(&r->dice, 15000)));
	}
	return true;
}

static bool run(struct round *r)
{
	int64_t ns = (int64_t)r->settings->round_seconds * SECOND_NS;
	bool ends_badly =
		r->soak->mode == SOAK_CUT || r->soak->mode == SOAK_KILL ||
		(r->soak->mode == SOAK_FAULT && dice_chance(&r->dice, 300));
	struct sample now;

	if (ends_badly) /* at any moment */
		ns = (int64_t)dice_below(&r->dice, (uint64_t)ns);
	if (!r->settings->flat || ends_badly)
		return run_for(r, ns) &&
		       (ends_badly ? end_badly : end_well)(r) &&
		       check_devices(r, !ends_badly);
	if (!run_for(r, ns / 3) || !sample_quietly(r, &r->before) ||
	    !run_for(r, ns - ns / 3) || !sample_quietly(r, &now))
		return false;
	return is_flat(r, &now) && end_well(r) && check_devices(r, true);
}

static bool has_reader(const struct soak *soak)
{
	for (unsigned i = 0; i < soak->files; i++)
		if (soak->file[i].reader_path[0])
			return true;
	return false;
}

static void start_drivers(struct round *r, const char *options)
{
	char reader[64];

	driver_start(&r->driver, r->settings, r->soak, "mnt", options);
	(void)snprintf(reader, sizeof(reader), "ro,granule=%" PRIu64 "%s",
		       r->soak->granule,
		       r->settings->uring ? "" : ",uring=off");
	if (has_reader(r->soak))
		driver_start(&r->reader, r->settings, r->soak, "reader",
			     reader);
}

static uint64_t operations(const struct soak *soak)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < soak->workers; i++)
		n += atomic_load(&soak->worker[i].op);
	return n;
}

/* Not where it would be a window that no worker ends, or one inside another. */
static bool shorts_descriptors(struct round *r)
{
	enum soak_mode mode = r->soak->mode;

	return dice_chance(&r->dice, 300) &&
	       (!r->settings->uring || mode == SOAK_WRITE || mode == SOAK_KILL);
}

bool run_round(const struct settings *settings, struct soak *soak,
	       uint64_t seed)
{
	struct round r = {
		.settings = settings,
		.soak = soak,
		.dice.state = seed,
	};
	char options[256];
	bool right;

	soak->seed = seed;
	atomic_store(&soak->stop, false);
	atomic_store(&soak->ending, false);
	atomic_store(&soak->pause, false);
	atomic_store(&soak->failed, false);
	soak->mode = pick_mode(&r);
	plan(&r, options, sizeof(options));
	r.processes = 1 + (unsigned)dice_below(&r.dice, SOAK_PROCESSES);
	r.has_victims = dice_chance(&r.dice, 500);
	r.shorts_descriptors = shorts_descriptors(&r);
	make_files(&r);
	print_plan(&r, options);
	start_drivers(&r, options);
	start_processes(&r);
	right = run(&r);
	printf("seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64
	       " signals, %" PRIu64 " windows of faults, %" PRIu64
	       " killed callers: %s\n",
	       seed, operations(soak), r.signals, r.windows, r.victims,
	       right ? "right" : "WRONG");
	if (!right) {
		print_file(r.driver.log);
		fprintf(stderr, "Repeat it with --mode %s --seed %" PRIu64 "\n",
			mode_names[soak->mode], seed);
	}
	clean_up(&r);
	return right;
}
