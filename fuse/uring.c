/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfuse 3.14 knows nothing of it. It is told to read and write through the
 * functions here: these see the first request and its answer, in which the
 * kernel offers io_uring and is told that it will be used, and they catch the
 * answers to requests that came that way. libfuse takes requests apart, keeps
 * track of interrupts, and puts answers together as ever.
 *
 * A request needs a place, which belongs to the queue of a processor. At first
 * all places are registered with the kernel by one thread, the keeper
 * (FUSE_IO_URING_CMD_REGISTER). A request that comes to it goes to a worker, a
 * thread that is started for it and has the place from then on: it handles,
 * answers, and waits for the next one (FUSE_IO_URING_CMD_COMMIT_AND_FETCH). A
 * handler may sleep for as long as its device likes. The kernel takes the place
 * that became free last, so that few workers do all the work, and the keeper is
 * asked only if all of the queue's are at work. (Places that were registered as
 * they are needed would not do: the kernel does not look then for requests that
 * wait already.)
 *
 * The keeper itself handles nothing that may wait for a device, for then no
 * request would get a worker any more. Where no thread, or no descriptor for
 * its ring, can be had, the request fails with ENOMEM.
 *
 * A thread stays on its processor: who asks goes to sleep there when it begins,
 * and is woken there. It may run anywhere after long reads, for the reader may
 * be one for whom the kernel reads ahead, and who does not sleep; and where
 * nobody has read for long: who is answered from the map alone, on a machine
 * that does nothing else, would be moved away by the kernel at each answer.
 *
 * The interface: linux/fuse.h of 7.42 or later, which Debian 12 has not, and
 * Documentation/filesystems/fuse-io-uring.rst; fs/fuse/dev_uring.c.
 */
#include <errno.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "ops.h"
#include "thread.h"

/* --- The kernel's interface ---------------------------------------------- */

/* The upper half of FUSE_OVER_IO_URING, in flags2 of the first request. */
#define INIT_2_OVER_IO_URING (UINT32_C(1) << (41 - 32))

enum command {
	CMD_REGISTER = 1,
	CMD_COMMIT_AND_FETCH = 2,
};

struct ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

struct req_header {
	char in_out[128]; /* struct fuse_in_header, or fuse_out_header */
	char op_in[128];  /* what the operation has before its payload */
	struct ent_in_out ent;
};

struct cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};

/* --- Objects ------------------------------------------------------------- */

enum {
	/*
	 * Of each queue, and how many there may be of all, each of which may
	 * need a descriptor and some memory of the kernel. Requests that no
	 * caller waits for (read-ahead, asynchronous direct I/O) get fewer, so
	 * that those of a device that hangs leave some to the other files.
	 */
	PLACES_MIN = 96,
	PLACES_MAX = 576,
	PLACES_OF_ALL = 32768,
	PLACES_FOR_CALLERS = 32,
	SUBMISSIONS = 64,   /* at once */
	PAYLOAD_MIN = 8192, /* FUSE_MIN_READ_BUFFER */
	/* The kernel's read-ahead may be behind longer ones. */
	SHORT_READ_MAX = 16 << 10,
	UNREAD_MAX = 256, /* requests */
	MUCH_MEMORY = 64 << 10,
	IDLE_SECONDS = 1, /* until a thread gives its memory back */
	MOMENT_MS = 5,
	TRIES = 5,	    /* to start a thread, with a moment in between */
	SPARE_FILES = 64,   /* descriptors for all but rings */
	QUIET_SECONDS = 60, /* between two lines about the same thing */
};

/* For one request at a time, of one queue. Fixed once there is a thread but for
 * what the memory holds and the number of the request, which are the kernel's
 * or belong to the thread that serves it. */
struct place {
	unsigned qid; /* the queue, which has the number of its processor */
	uint64_t commit_id; /* of its last request; 0: there was none */
	/* A page for the header; one at whose end the request is put together,
	 * in front of its payload; the payload. */
	struct req_header *header;
	char *payload;
	struct iovec iov[2];
};

/* A thread with a place of its own. */
struct worker {
	/* Fixed once it has begun. */
	struct uring *uring;
	struct place *place;
	pthread_t thread;
	struct worker *next;

	/* The thread's own. */
	struct io_uring ring;
	uint64_t unique;     /* of the request; 0: it is answered */
	bool bound;	     /* to the place's processor */
	bool used_much;	     /* of its memory, since it gave that back */
	unsigned since_read; /* requests */
	int error;	     /* why it could not begin, as -errno */
};

enum phase {
	PREPARING, /* the thread that begins makes its ring */
	READY,
	FAILED,	 /* it could not; and it ends */
	SERVING, /* the kernel was told */
};

struct uring {
	/* Fixed after uring_attach(). */
	struct fuse_session *se;
	struct buffers *buffers;
	int stop_fd; /* readable: threads are to end */
	size_t page;
	cpu_set_t allowed; /* of the program */

	/* Of the thread that is asked first; fixed before there are others. */
	uint64_t init_unique;
	bool offered;
	size_t payload_size;
	size_t n_places;
	size_t places_a_queue;
	struct place *places;
	char *memory; /* of them all; NULL: there is none */
	size_t memory_size;
	bool has_keeper;

	/* The keeper's own. */
	struct worker keeper; /* which has no place of its own */
	bool refusing;	      /* it could not start the last worker */
	bool told;	      /* that requests come */
	time_t quiet_until;   /* about requests that it refuses */

	pthread_mutex_t lock; /* a leaf lock */
	pthread_cond_t changed;
	/* Protected by lock: */
	enum phase phase; /* of the keeper */
	enum phase joins; /* of the worker that was started last */

	/* By the kernel, which was logged: each place would say the same. */
	atomic_flag refused;

	/* The keeper's, and after it of who joins them. */
	struct worker *workers;
};

/* Of the thread that calls libfuse's functions, if it is one. */
static _Thread_local struct worker *this_worker;

/* --- Rings --------------------------------------------------------------- */

/* What a completion is of: of the end, or of a place. */
#define OF_STOP UINT64_MAX

static void pause_a_moment(void)
{
	const struct timespec moment = { .tv_nsec = MOMENT_MS * 1000000L };

	(void)nanosleep(&moment, NULL);
}

/* The room for a command. In a large submission (IORING_SETUP_SQE128) it goes
 * on past the end of the structure, so the compiler must not know where it
 * points. */
static void *room_of(struct io_uring_sqe *sqe)
{
	void *room = sqe->cmd;

	__asm__("" : "+r"(room));
	return room;
}

/* Prepares to send the answer in a place, or to register one that had no
 * request yet. */
static void prepare_command(struct uring *uring, struct io_uring *ring,
			    struct place *place)
{
	struct cmd_req req = {
		.commit_id = place->commit_id,
		.qid = (uint16_t)place->qid,
	};
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring))) {
		if (io_uring_submit(ring) < 0)
			pause_a_moment(); /* the kernel is short of memory */
	}
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fuse_session_fd(uring->se),
			 place->iov, G_N_ELEMENTS(place->iov), 0);
	sqe->cmd_op = place->commit_id ? CMD_COMMIT_AND_FETCH : CMD_REGISTER;
	sqe->user_data = (uint64_t)(place - uring->places);
	memcpy(room_of(sqe), &req, sizeof(req));
}

/* Makes a ring for this thread, and asks to be told of the end. */
static int make_ring(struct uring *uring, struct io_uring *ring,
		     unsigned submissions, size_t completions)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_CQSIZE |
			 IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
		.cq_entries = (unsigned)completions,
	};
	struct io_uring_sqe *sqe;
	int r = io_uring_queue_init_params(submissions, ring, &params);

	if (r)
		return r;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_poll_add(sqe, uring->stop_fd, POLLIN);
	sqe->user_data = OF_STOP;
	return 0;
}

/* Sends what is prepared, and waits for the next completion, for so many
 * seconds (0: for ever). False if there is none. */
static bool next_completion(struct io_uring *ring, unsigned seconds,
			    struct io_uring_cqe *ret_cqe)
{
	struct __kernel_timespec limit = { .tv_sec = seconds };
	struct io_uring_cqe *cqe = NULL;
	int r;

	if (seconds)
		r = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &limit,
						     NULL);
	else
		r = io_uring_submit_and_wait(ring, 1);
	if (r < 0 && r != -EINTR && r != -ETIME)
		pause_a_moment(); /* the kernel is short of memory */
	if (io_uring_peek_cqe(ring, &cqe))
		return false;
	*ret_cqe = *cqe;
	io_uring_cqe_seen(ring, cqe);
	return true;
}

static void set_phase(struct uring *uring, enum phase *phase, enum phase to)
{
	pthread_mutex_lock(&uring->lock);
	*phase = to;
	pthread_cond_broadcast(&uring->changed);
	pthread_mutex_unlock(&uring->lock);
}

/* Waits for it to be something else. */
static enum phase leave_phase(struct uring *uring, const enum phase *phase,
			      enum phase from)
{
	enum phase now;

	pthread_mutex_lock(&uring->lock);
	while (*phase == from)
		pthread_cond_wait(&uring->changed, &uring->lock);
	now = *phase;
	pthread_mutex_unlock(&uring->lock);
	return now;
}

/* --- A worker ------------------------------------------------------------ */

/* Has the thread run on its place's processor only, or on any again. Where it
 * must not be there, it runs where it may. */
static void bind_to_processor(struct worker *worker, bool bound)
{
	const cpu_set_t *allowed = &worker->uring->allowed;
	unsigned processor = worker->place->qid;
	cpu_set_t own;

	if (bound == worker->bound)
		return;
	worker->bound = bound;
	CPU_ZERO(&own);
	if (processor < CPU_SETSIZE && CPU_ISSET(processor, allowed))
		CPU_SET(processor, &own);
	else
		own = *allowed;
	(void)sched_setaffinity(0, sizeof(own), bound ? &own : allowed);
}

/* The number of a request is its commit_id (fuse_uring_args_to_ring()). */
static void note_request(struct place *place)
{
	place->commit_id = place->header->ent.commit_id;
}

/* Puts the request together as it would come from /dev/fuse, right before its
 * payload. Sets *ret_request; false if it cannot be one. */
static bool put_together(const struct uring *uring, const struct place *place,
			 struct fuse_buf *ret_request)
{
	const struct req_header *header = place->header;
	struct fuse_in_header in;
	uint64_t begin, own;

	memcpy(&in, header->in_out, sizeof(in));
	begin = sizeof(in) + (uint64_t)header->ent.payload_size;
	own = in.len - begin;
	if (in.len < begin || own > sizeof(header->op_in) ||
	    header->ent.payload_size > uring->payload_size)
		return false;
	ret_request->size = in.len;
	ret_request->mem = place->payload - own - sizeof(in);
	memcpy(place->payload - own, header->op_in, own);
	memcpy(ret_request->mem, &in, sizeof(in));
	return true;
}

/* Leaves an answer for the kernel. */
static void put_answer(struct place *place, int error, size_t payload_size)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + payload_size),
		.error = error,
		.unique = place->commit_id,
	};

	memcpy(place->header->in_out, &out, sizeof(out));
	place->header->ent.payload_size = (uint32_t)payload_size;
}

/* What is known of a request that was handled. */
struct handled {
	bool is_read;
	size_t size; /* bytes that it came with, or asked for */
};

static struct handled handled(const struct fuse_in_header *in)
{
	const struct fuse_read_in *read = (const void *)(in + 1);
	bool is_read = in->opcode == FUSE_READ &&
		       in->len >= sizeof(*in) + sizeof(*read);

	return (struct handled){
		.is_read = is_read,
		.size = is_read ? read->size : in->len,
	};
}

/* Stays on the processor, or not, and notes what memory that took. */
static void settle_down(struct worker *worker, const struct handled *last)
{
	worker->since_read = last->is_read ? 0 : worker->since_read + 1;
	bind_to_processor(worker, last->is_read
					  ? last->size <= SHORT_READ_MAX
					  : worker->since_read < UNREAD_MAX);
	worker->used_much |= last->size >= MUCH_MEMORY;
}

/* Handles the request that is there, and prepares to send the answer. */
static struct handled handle(struct worker *worker)
{
	struct uring *uring = worker->uring;
	struct place *place = worker->place;
	struct fuse_buf request = { .size = 0 };
	struct handled done = { .size = 0 };
	bool whole = put_together(uring, place, &request);

	/* A request without an answer is an error, and no success. */
	put_answer(place, -EIO, 0);
	if (whole) {
		done = handled(request.mem);
		worker->unique = place->commit_id;
		fuse_session_process_buf(uring->se, &request);
		worker->unique = 0;
	}
	prepare_command(uring, &worker->ring, place);
	return done;
}

/*
 * Nothing has come for a while. Nor does it now: the kernel puts a request
 * there only while this thread waits for it, as the ring was made so
 * (IORING_SETUP_DEFER_TASKRUN).
 */
static void give_memory_back(struct worker *worker)
{
	(void)madvise(worker->place->payload, worker->uring->payload_size,
		      MADV_DONTNEED);
	worker->used_much = false;
}

/* The connection ends, for one reason or another. */
static bool is_end(int result)
{
	return result == -ENOTCONN || result == -ECONNABORTED ||
	       result == -ECANCELED;
}

/* The kernel lacks memory and has done nothing: io_uring keeps a copy of each
 * command (io_uring/uring_cmd.c), FUSE a record of each place. */
static bool is_passing(int result)
{
	return result == -ENOMEM || result == -EAGAIN;
}

/* The answer is still in its place, and goes out again; without that the caller
 * would wait for ever. */
static void send_again(struct uring *uring, struct io_uring *ring,
		       struct place *place)
{
	pause_a_moment();
	prepare_command(uring, ring, place);
}

/* Sends the answer, and waits for the next request or the end. */
static struct io_uring_cqe fetch(struct worker *worker)
{
	struct io_uring_cqe cqe;

	for (;;) {
		if (!next_completion(&worker->ring,
				     worker->used_much ? IDLE_SECONDS : 0,
				     &cqe)) {
			/* The answer is away? */
			if (worker->used_much &&
			    io_uring_sq_ready(&worker->ring) == 0)
				give_memory_back(worker);
		} else if (cqe.user_data == OF_STOP || !is_passing(cqe.res)) {
			return cqe;
		} else {
			send_again(worker->uring, &worker->ring, worker->place);
		}
	}
}

/* There is a request in its place already. */
static void serve(struct worker *worker)
{
	struct io_uring_cqe cqe = { .res = 0 };

	while (cqe.user_data != OF_STOP && cqe.res == 0) {
		struct handled last;

		note_request(worker->place);
		last = handle(worker);
		settle_down(worker, &last);
		cqe = fetch(worker);
	}
	if (cqe.user_data != OF_STOP && !is_end(cqe.res) &&
	    !atomic_flag_test_and_set(&worker->uring->refused))
		log_line(
			LOG_ERR,
			"the kernel refuses an answer by io_uring: %s; mount it anew, with -o uring=off if it comes again",
			g_strerror(-cqe.res));
}

static void *worker_main(void *data)
{
	struct worker *worker = data;
	struct uring *uring = worker->uring;
	int r;

	this_worker = worker;
	r = buffers_lend(uring->buffers, worker->place->payload,
			 uring->payload_size);
	if (!r)
		r = make_ring(uring, &worker->ring, 2, 4);
	worker->error = r;
	set_phase(uring, &uring->joins, r ? FAILED : READY);
	if (r)
		return NULL;
	serve(worker);
	io_uring_queue_exit(&worker->ring);
	return NULL;
}

/* Starts a thread that takes over a place and the request in it. Returns 0, or
 * -errno: it cannot be had. */
static int start_worker(struct uring *uring, struct place *place)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker)
		return -ENOMEM;
	worker->uring = uring;
	worker->place = place;
	set_phase(uring, &uring->joins, PREPARING);
	r = thread_start(&worker->thread, worker_main, worker);
	if (!r && leave_phase(uring, &uring->joins, PREPARING) == FAILED) {
		(void)pthread_join(worker->thread, NULL);
		r = worker->error;
	}
	if (r) {
		free(worker);
		return r;
	}
	worker->next = uring->workers;
	uring->workers = worker;
	return 0;
}

/* --- The keeper ---------------------------------------------------------- */

static void register_places(struct uring *uring)
{
	for (size_t i = 0; i < uring->n_places; i++)
		prepare_command(uring, &uring->keeper.ring, &uring->places[i]);
}

/* Closing a file waits for nothing, and happens once, whatever the answer. */
static bool never_waits(const struct place *place)
{
	struct fuse_in_header in;

	memcpy(&in, place->header->in_out, sizeof(in));
	return in.opcode == FUSE_RELEASE || in.opcode == FUSE_RELEASEDIR;
}

static void log_refusal(struct uring *uring, int error)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec < uring->quiet_until)
		return;
	uring->quiet_until = now.tv_sec + QUIET_SECONDS;
	log_line(
		LOG_ERR,
		"requests fail, since no thread with an io_uring can be had for them: %s; raise the limits of open files and processes, or mount with -o uring=off",
		g_strerror(-error));
}

/* A worker cannot be had for the request. */
static void refuse(struct uring *uring, struct place *place, int error)
{
	struct worker *self = &uring->keeper;

	note_request(place);
	self->place = place;
	if (never_waits(place)) {
		(void)handle(self);
		return;
	}
	log_refusal(uring, error);
	put_answer(place, -ENOMEM, 0);
	prepare_command(uring, &self->ring, place);
}

/* A request has come into a place that is kept: all workers of its queue have
 * something to do. */
static void take_in(struct uring *uring, struct place *place)
{
	/* Others wait meanwhile. */
	int tries = uring->refusing ? 1 : TRIES;
	int r = start_worker(uring, place);

	for (int i = 1; r && i < tries; i++) {
		pause_a_moment();
		r = start_worker(uring, place);
	}
	uring->refusing = r != 0;
	if (r)
		refuse(uring, place, r);
}

/* The outcome of a place that is kept. */
static void keep(struct uring *uring, struct place *place, int result)
{
	if (result == 0) {
		if (!uring->told)
			log_line(LOG_DEBUG, "requests come by io_uring");
		uring->told = true;
		take_in(uring, place);
	} else if (is_passing(result)) {
		send_again(uring, &uring->keeper.ring, place);
	} else if (!is_end(result) &&
		   !atomic_flag_test_and_set(&uring->refused)) {
		log_line(LOG_WARNING, "the kernel refuses io_uring: %s",
			 g_strerror(-result));
	}
}

static void *keeper_main(void *data)
{
	struct uring *uring = data;
	struct io_uring *ring = &uring->keeper.ring;
	struct io_uring_cqe cqe = { .res = 0 };
	bool ready =
		make_ring(uring, ring, SUBMISSIONS, uring->n_places + 1) == 0;

	this_worker = &uring->keeper;
	set_phase(uring, &uring->phase, ready ? READY : FAILED);
	if (!ready)
		return NULL;
	if (leave_phase(uring, &uring->phase, READY) == SERVING)
		register_places(uring);
	while (cqe.user_data != OF_STOP) {
		if (next_completion(ring, 0, &cqe) && cqe.user_data != OF_STOP)
			keep(uring, &uring->places[cqe.user_data], cqe.res);
	}
	io_uring_queue_exit(ring);
	return NULL;
}

/* The kernel has a queue for each processor that there may ever be. */
static size_t possible_processors(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned first = 0, last = 0;
	size_t n = 0;

	/* "0-7": ranges and single ones, with commas between them. */
	while (file && fscanf(file, "%u", &first) == 1) {
		last = first;
		(void)fscanf(file, "-%u", &last);
		n += last >= first ? last - first + 1 : 0;
		(void)fscanf(file, ",");
	}
	if (file)
		(void)fclose(file);
	return n;
}

/*
 * A device that hangs may hold a thread for each of its requests, and each
 * thread has a ring. Without descriptors for them the other files would not be
 * served any more; through /dev/fuse a thread needs none.
 */
static bool has_descriptors(const struct uring *uring, size_t n_places)
{
	/* stop_fd was the lowest that was free. */
	rlim_t needed = (rlim_t)uring->stop_fd + n_places + SPARE_FILES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
		return true;
	log_line(
		LOG_NOTICE,
		"io_uring may need %ju open files, and the limit (ulimit -n) is %ju",
		(uintmax_t)needed, (uintmax_t)limit.rlim_cur);
	return false;
}

/* Memory is taken as it is used. */
static bool make_places(struct uring *uring)
{
	size_t n_queues = possible_processors();
	size_t a_queue =
		CLAMP(PLACES_OF_ALL / MAX(n_queues, 1), PLACES_MIN, PLACES_MAX);
	size_t n = n_queues * a_queue;
	size_t payload_pages =
		(uring->payload_size + uring->page - 1) / uring->page;
	size_t step = (2 + payload_pages) * uring->page;

	if (n > SIZE_MAX / step || !has_descriptors(uring, n))
		return false;
	uring->places = calloc(n, sizeof(*uring->places));
	if (!uring->places)
		return false;
	uring->memory_size = n * step;
	uring->memory =
		mmap(NULL, uring->memory_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (uring->memory == MAP_FAILED) {
		uring->memory = NULL;
		return false;
	}
	/* A large page would be of several. */
	(void)madvise(uring->memory, uring->memory_size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n; i++) {
		struct place *place = &uring->places[i];
		char *memory = uring->memory + i * step;

		place->qid = (unsigned)(i / a_queue);
		place->header = (struct req_header *)memory;
		place->payload = memory + 2 * uring->page;
		place->iov[0].iov_base = place->header;
		place->iov[0].iov_len = sizeof(*place->header);
		place->iov[1].iov_base = place->payload;
		place->iov[1].iov_len = uring->payload_size;
	}
	uring->n_places = n;
	uring->places_a_queue = a_queue;
	return n > 0;
}

/* True once the kernel may be told. */
static bool start_keeper(struct uring *uring)
{
	if (!make_places(uring) ||
	    thread_start(&uring->keeper.thread, keeper_main, uring))
		return false;
	uring->has_keeper = true;
	return leave_phase(uring, &uring->phase, PREPARING) == READY;
}

/* --- What libfuse reads and writes --------------------------------------- */

static struct uring *uring_of(void *userdata)
{
	const struct mount *mount = userdata;

	return mount->uring;
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
	ssize_t n = read(fd, buf, len);
	const struct fuse_in_header *in = buf;
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (n >= (ssize_t)(sizeof(*in) + sizeof(*init)) &&
	    in->opcode == FUSE_INIT) {
		struct uring *uring = uring_of(userdata);

		uring->init_unique = in->unique;
		uring->offered = (init->flags & FUSE_INIT_EXT) &&
				 (init->flags2 & INIT_2_OVER_IO_URING);
	}
	return n;
}

/* The answer to the first request. */
static ssize_t answer_init(struct uring *uring, int fd, struct iovec *iov,
			   int count)
{
	struct fuse_init_out *init = iov[1].iov_base;
	size_t pages = (size_t)init->max_pages * uring->page;
	bool ready;
	ssize_t n;

	uring->payload_size = pages > init->max_write ? pages : init->max_write;
	if (uring->payload_size < PAYLOAD_MIN)
		uring->payload_size = PAYLOAD_MIN;
	ready = start_keeper(uring);
	if (ready) {
		init->flags |= FUSE_INIT_EXT;
		init->flags2 |= INIT_2_OVER_IO_URING;
		init->max_background =
			(uint16_t)(uring->places_a_queue - PLACES_FOR_CALLERS);
		init->congestion_threshold =
			(uint16_t)(init->max_background / 4 * 3);
	}
	n = writev(fd, iov, count);
	if (ready)
		set_phase(uring, &uring->phase, n < 0 ? FAILED : SERVING);
	else
		log_line(
			LOG_NOTICE,
			"requests come through /dev/fuse, since io_uring cannot be had");
	return n;
}

/* The answer to what came by io_uring. What was put into this thread's buffer
 * is where it has to be already. */
static ssize_t answer_worker(struct worker *worker, const struct iovec *iov,
			     int count)
{
	struct place *place = worker->place;
	struct fuse_out_header out;
	size_t used = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > worker->uring->payload_size - used) {
			errno = EINVAL;
			return -1;
		}
		if (iov[i].iov_base != place->payload + used)
			memmove(place->payload + used, iov[i].iov_base,
				iov[i].iov_len);
		used += iov[i].iov_len;
	}
	put_answer(place, out.error, used);
	worker->unique = 0;
	return (ssize_t)(sizeof(out) + used);
}

static ssize_t write_answer(int fd, struct iovec *iov, int count,
			    void *userdata)
{
	struct uring *uring = uring_of(userdata);
	const struct fuse_out_header *out = iov[0].iov_base;

	/* A notification has no number. */
	if (out->unique == 0)
		return writev(fd, iov, count);
	if (this_worker && out->unique == this_worker->unique)
		return answer_worker(this_worker, iov, count);
	if (uring->offered && out->unique == uring->init_unique) {
		uring->offered = false;
		if (out->error == 0 && count == 2 &&
		    iov[1].iov_len == sizeof(struct fuse_init_out))
			return answer_init(uring, fd, iov, count);
	}
	return writev(fd, iov, count);
}

/* --- Life ---------------------------------------------------------------- */

struct uring *uring_attach(struct fuse_session *se, struct buffers *buffers)
{
	static const struct fuse_custom_io io = {
		.read = read_request,
		.writev = write_answer,
	};
	struct uring *uring = calloc(1, sizeof(*uring));

	if (!uring)
		return NULL;
	uring->se = se;
	uring->buffers = buffers;
	uring->keeper.uring = uring;
	atomic_flag_clear(&uring->refused);
	uring->page = (size_t)sysconf(_SC_PAGESIZE);
	pthread_mutex_init(&uring->lock, NULL);
	pthread_cond_init(&uring->changed, NULL);
	uring->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (uring->stop_fd < 0 ||
	    sched_getaffinity(0, sizeof(uring->allowed), &uring->allowed) ||
	    fuse_session_custom_io(se, &io, fuse_session_fd(se))) {
		uring_free(uring);
		return NULL;
	}
	return uring;
}

bool uring_is_worker(void)
{
	return this_worker != NULL;
}

void uring_stop(struct uring *uring)
{
	const uint64_t one = 1;

	if (!uring)
		return;
	(void)!write(uring->stop_fd, &one, sizeof(one));
	if (uring->has_keeper)
		(void)pthread_join(uring->keeper.thread, NULL);
	/* Now there will not be others. */
	for (struct worker *w = uring->workers; w; w = w->next)
		(void)pthread_join(w->thread, NULL);
}

void uring_free(struct uring *uring)
{
	if (!uring)
		return;
	while (uring->workers) {
		struct worker *worker = uring->workers;

		uring->workers = worker->next;
		free(worker);
	}
	if (uring->memory)
		(void)munmap(uring->memory, uring->memory_size);
	free(uring->places);
	if (uring->stop_fd >= 0)
		(void)close(uring->stop_fd);
	pthread_cond_destroy(&uring->changed);
	pthread_mutex_destroy(&uring->lock);
	free(uring);
}
