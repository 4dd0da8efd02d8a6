/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
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
 */
#include "uring-pool.h"

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
#include "thread.h"

/* --- The kernel's interface ---------------------------------------------- */

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
	 * need a descriptor and some memory of the kernel.
	 */
	PLACES_MIN = 96,
	PLACES_MAX = 576,
	PLACES_OF_ALL = 32768,
	SUBMISSIONS = 64, /* at once */
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
	struct uring_pool *pool;
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

struct uring_pool {
	/* Fixed after uring_pool_new(). */
	struct fuse_session *se;
	struct buffers *buffers;
	int stop_fd; /* readable: threads are to end */
	size_t page;
	cpu_set_t allowed; /* of the program */

	/* Of the thread that is asked first; fixed before there are others. */
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
static void prepare_command(struct uring_pool *pool, struct io_uring *ring,
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
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fuse_session_fd(pool->se),
			 place->iov, G_N_ELEMENTS(place->iov), 0);
	sqe->cmd_op = place->commit_id ? CMD_COMMIT_AND_FETCH : CMD_REGISTER;
	sqe->user_data = (uint64_t)(place - pool->places);
	memcpy(room_of(sqe), &req, sizeof(req));
}

/* Makes a ring for this thread, and asks to be told of the end. */
static int make_ring(struct uring_pool *pool, struct io_uring *ring,
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
	io_uring_prep_poll_add(sqe, pool->stop_fd, POLLIN);
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

static void set_phase(struct uring_pool *pool, enum phase *phase, enum phase to)
{
	pthread_mutex_lock(&pool->lock);
	*phase = to;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

/* Waits for it to be something else. */
static enum phase leave_phase(struct uring_pool *pool, const enum phase *phase,
			      enum phase from)
{
	enum phase now;

	pthread_mutex_lock(&pool->lock);
	while (*phase == from)
		pthread_cond_wait(&pool->changed, &pool->lock);
	now = *phase;
	pthread_mutex_unlock(&pool->lock);
	return now;
}

/* --- A worker ------------------------------------------------------------ */

/* Has the thread run on its place's processor only, or on any again. Where it
 * must not be there, it runs where it may. */
static void bind_to_processor(struct worker *worker, bool bound)
{
	const cpu_set_t *allowed = &worker->pool->allowed;
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
static bool put_together(const struct uring_pool *pool,
			 const struct place *place,
			 struct fuse_buf *ret_request)
{
	const struct req_header *header = place->header;
	struct fuse_in_header in;
	uint64_t begin, own;

	memcpy(&in, header->in_out, sizeof(in));
	begin = sizeof(in) + (uint64_t)header->ent.payload_size;
	own = in.len - begin;
	if (in.len < begin || own > sizeof(header->op_in) ||
	    header->ent.payload_size > pool->payload_size)
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
	struct uring_pool *pool = worker->pool;
	struct place *place = worker->place;
	struct fuse_buf request = { .size = 0 };
	struct handled done = { .size = 0 };
	bool whole = put_together(pool, place, &request);

	/* A request without an answer is an error, and no success. */
	put_answer(place, -EIO, 0);
	if (whole) {
		done = handled(request.mem);
		worker->unique = place->commit_id;
		fuse_session_process_buf(pool->se, &request);
		worker->unique = 0;
	}
	prepare_command(pool, &worker->ring, place);
	return done;
}

/*
 * Nothing has come for a while. Nor does it now: the kernel puts a request
 * there only while this thread waits for it, as the ring was made so
 * (IORING_SETUP_DEFER_TASKRUN).
 */
static void give_memory_back(struct worker *worker)
{
	(void)madvise(worker->place->payload, worker->pool->payload_size,
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
static void send_again(struct uring_pool *pool, struct io_uring *ring,
		       struct place *place)
{
	pause_a_moment();
	prepare_command(pool, ring, place);
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
			send_again(worker->pool, &worker->ring, worker->place);
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
	    !atomic_flag_test_and_set(&worker->pool->refused))
		log_line(
			LOG_ERR,
			"the kernel refuses an answer by io_uring: %s; mount it anew, with -o uring=off if it comes again",
			g_strerror(-cqe.res));
}

static void *worker_main(void *data)
{
	struct worker *worker = data;
	struct uring_pool *pool = worker->pool;
	int r;

	this_worker = worker;
	r = buffers_lend(pool->buffers, worker->place->payload,
			 pool->payload_size);
	if (!r)
		r = make_ring(pool, &worker->ring, 2, 4);
	worker->error = r;
	set_phase(pool, &pool->joins, r ? FAILED : READY);
	if (r)
		return NULL;
	serve(worker);
	io_uring_queue_exit(&worker->ring);
	return NULL;
}

/* Starts a thread that takes over a place and the request in it. Returns 0, or
 * -errno: it cannot be had. */
static int start_worker(struct uring_pool *pool, struct place *place)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker)
		return -ENOMEM;
	worker->pool = pool;
	worker->place = place;
	set_phase(pool, &pool->joins, PREPARING);
	r = thread_start(&worker->thread, worker_main, worker);
	if (!r && leave_phase(pool, &pool->joins, PREPARING) == FAILED) {
		(void)pthread_join(worker->thread, NULL);
		r = worker->error;
	}
	if (r) {
		free(worker);
		return r;
	}
	worker->next = pool->workers;
	pool->workers = worker;
	return 0;
}

/* --- The keeper ---------------------------------------------------------- */

static void register_places(struct uring_pool *pool)
{
	for (size_t i = 0; i < pool->n_places; i++)
		prepare_command(pool, &pool->keeper.ring, &pool->places[i]);
}

/* Closing a file waits for nothing, and happens once, whatever the answer. */
static bool never_waits(const struct place *place)
{
	struct fuse_in_header in;

	memcpy(&in, place->header->in_out, sizeof(in));
	return in.opcode == FUSE_RELEASE || in.opcode == FUSE_RELEASEDIR;
}

static void log_refusal(struct uring_pool *pool, int error)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec < pool->quiet_until)
		return;
	pool->quiet_until = now.tv_sec + QUIET_SECONDS;
	log_line(
		LOG_ERR,
		"requests fail, since no thread with an io_uring can be had for them: %s; raise the limits of open files and processes, or mount with -o uring=off",
		g_strerror(-error));
}

/* A worker cannot be had for the request. */
static void refuse(struct uring_pool *pool, struct place *place, int error)
{
	struct worker *self = &pool->keeper;

	note_request(place);
	self->place = place;
	if (never_waits(place)) {
		(void)handle(self);
		return;
	}
	log_refusal(pool, error);
	put_answer(place, -ENOMEM, 0);
	prepare_command(pool, &self->ring, place);
}

/* A request has come into a place that is kept: all workers of its queue have
 * something to do. */
static void take_in(struct uring_pool *pool, struct place *place)
{
	/* Others wait meanwhile. */
	int tries = pool->refusing ? 1 : TRIES;
	int r = start_worker(pool, place);

	for (int i = 1; r && i < tries; i++) {
		pause_a_moment();
		r = start_worker(pool, place);
	}
	pool->refusing = r != 0;
	if (r)
		refuse(pool, place, r);
}

/* The outcome of a place that is kept. */
static void keep(struct uring_pool *pool, struct place *place, int result)
{
	if (result == 0) {
		if (!pool->told)
			log_line(LOG_DEBUG, "requests come by io_uring");
		pool->told = true;
		take_in(pool, place);
	} else if (is_passing(result)) {
		send_again(pool, &pool->keeper.ring, place);
	} else if (!is_end(result) &&
		   !atomic_flag_test_and_set(&pool->refused)) {
		log_line(LOG_WARNING, "the kernel refuses io_uring: %s",
			 g_strerror(-result));
	}
}

static void *keeper_main(void *data)
{
	struct uring_pool *pool = data;
	struct io_uring *ring = &pool->keeper.ring;
	struct io_uring_cqe cqe = { .res = 0 };
	bool ready =
		make_ring(pool, ring, SUBMISSIONS, pool->n_places + 1) == 0;

	this_worker = &pool->keeper;
	set_phase(pool, &pool->phase, ready ? READY : FAILED);
	if (!ready)
		return NULL;
	if (leave_phase(pool, &pool->phase, READY) == SERVING)
		register_places(pool);
	while (cqe.user_data != OF_STOP) {
		if (next_completion(ring, 0, &cqe) && cqe.user_data != OF_STOP)
			keep(pool, &pool->places[cqe.user_data], cqe.res);
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
static bool has_descriptors(const struct uring_pool *pool, size_t n_places)
{
	/* stop_fd was the lowest that was free. */
	rlim_t needed = (rlim_t)pool->stop_fd + n_places + SPARE_FILES;
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
static bool make_places(struct uring_pool *pool)
{
	size_t n_queues = possible_processors();
	size_t a_queue =
		CLAMP(PLACES_OF_ALL / MAX(n_queues, 1), PLACES_MIN, PLACES_MAX);
	size_t n = n_queues * a_queue;
	size_t payload_pages =
		(pool->payload_size + pool->page - 1) / pool->page;
	size_t step = (2 + payload_pages) * pool->page;

	if (n > SIZE_MAX / step || !has_descriptors(pool, n))
		return false;
	pool->places = calloc(n, sizeof(*pool->places));
	if (!pool->places)
		return false;
	pool->memory_size = n * step;
	pool->memory = mmap(NULL, pool->memory_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED) {
		pool->memory = NULL;
		return false;
	}
	/* A large page would be of several. */
	(void)madvise(pool->memory, pool->memory_size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n; i++) {
		struct place *place = &pool->places[i];
		char *memory = pool->memory + i * step;

		place->qid = (unsigned)(i / a_queue);
		place->header = (struct req_header *)memory;
		place->payload = memory + 2 * pool->page;
		place->iov[0].iov_base = place->header;
		place->iov[0].iov_len = sizeof(*place->header);
		place->iov[1].iov_base = place->payload;
		place->iov[1].iov_len = pool->payload_size;
	}
	pool->n_places = n;
	pool->places_a_queue = a_queue;
	return n > 0;
}

bool uring_pool_start(struct uring_pool *pool, size_t payload_size)
{
	pool->payload_size = payload_size;
	if (!make_places(pool) ||
	    thread_start(&pool->keeper.thread, keeper_main, pool))
		return false;
	pool->has_keeper = true;
	return leave_phase(pool, &pool->phase, PREPARING) == READY;
}

unsigned uring_pool_queue_depth(const struct uring_pool *pool)
{
	return (unsigned)pool->places_a_queue;
}

void uring_pool_register(struct uring_pool *pool, bool accepted)
{
	set_phase(pool, &pool->phase, accepted ? SERVING : FAILED);
}

/* --- Answers ------------------------------------------------------------- */

bool uring_pool_is_worker(void)
{
	return this_worker != NULL;
}

bool uring_pool_has_request(uint64_t unique)
{
	return this_worker && unique == this_worker->unique;
}

/* The answer to what came by io_uring. What was put into this thread's buffer
 * is where it has to be already. */
ssize_t uring_pool_reply(const struct iovec *iov, int count)
{
	struct worker *worker = this_worker;
	struct place *place = worker->place;
	struct fuse_out_header out;
	size_t used = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > worker->pool->payload_size - used) {
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

/* --- Life ---------------------------------------------------------------- */

struct uring_pool *uring_pool_new(struct fuse_session *se,
				  struct buffers *buffers)
{
	struct uring_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->se = se;
	pool->buffers = buffers;
	pool->keeper.pool = pool;
	atomic_flag_clear(&pool->refused);
	pool->page = (size_t)sysconf(_SC_PAGESIZE);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	pool->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (pool->stop_fd < 0 ||
	    sched_getaffinity(0, sizeof(pool->allowed), &pool->allowed)) {
		uring_pool_free(pool);
		return NULL;
	}
	return pool;
}

void uring_pool_stop(struct uring_pool *pool)
{
	const uint64_t one = 1;

	(void)!write(pool->stop_fd, &one, sizeof(one));
	if (pool->has_keeper)
		(void)pthread_join(pool->keeper.thread, NULL);
	/* Now there will not be others. */
	for (struct worker *w = pool->workers; w; w = w->next)
		(void)pthread_join(w->thread, NULL);
}

void uring_pool_free(struct uring_pool *pool)
{
	if (!pool)
		return;
	while (pool->workers) {
		struct worker *worker = pool->workers;

		pool->workers = worker->next;
		free(worker);
	}
	if (pool->memory)
		(void)munmap(pool->memory, pool->memory_size);
	free(pool->places);
	if (pool->stop_fd >= 0)
		(void)close(pool->stop_fd);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
