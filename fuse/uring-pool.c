/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each ring entry carries one request at a time and belongs to the queue of one
 * CPU. At first the dispatcher thread registers all entries with the kernel
 * (FUSE_IO_URING_CMD_REGISTER). When a request arrives in one of them, the
 * dispatcher starts a worker for it. The worker owns the entry from then on: it
 * handles the request, sends the reply and waits for the next request
 * (FUSE_IO_URING_CMD_COMMIT_AND_FETCH). So a handler may sleep as long as its
 * device takes. The kernel uses the entry that became free last, so that few
 * workers do most of the work; a request reaches the dispatcher only while all
 * workers of its queue are busy. Registering entries later, when they are
 * needed, would not do: the kernel does not look for waiting requests then.
 *
 * The dispatcher never handles a request that may wait for a device: no other
 * request would get a worker meanwhile. A request fails with ENOMEM if no
 * thread, or no descriptor for its ring, can be had.
 *
 * A worker runs on the CPU of its queue, where the kernel wakes it and the
 * caller sleeps. It is unpinned after a large read, as kernel read-ahead may be
 * serving a reader that never sleeps. It is also unpinned after many requests
 * without a read: on an idle machine the kernel would move a caller that is
 * answered from the map alone to another CPU at each reply.
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

#include "blksparse-thread.h"
#include "log.h"

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
	char in_out[128]; /* a struct fuse_in_header or fuse_out_header */
	char op_in[128];  /* the operation's own header, before the payload */
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
	/* Entries of each queue, and of all queues together. An entry may need
	 * a descriptor and some kernel memory. */
	QUEUE_DEPTH_MIN = 96,
	QUEUE_DEPTH_MAX = 576,
	ENTS_MAX = 32768,
	DISPATCHER_SQES = 64,
	/* The kernel reads ahead with longer requests. */
	SHORT_READ_MAX = 16 << 10,
	UNPIN_REQUESTS = 256, /* without a read */
	LARGE_REQUEST = 64 << 10,
	IDLE_SECONDS = 1, /* until a worker returns its payload memory */
	RETRY_MS = 5,
	START_TRIES = 5,  /* to start a worker, with a pause in between */
	OTHER_FILES = 64, /* descriptors for everything but rings */
	LOG_SECONDS = 60, /* between two lines about the same problem */
};

/* Carries one request at a time. All fields but commit_id are fixed before the
 * dispatcher starts. The memory that they point to and commit_id belong to the
 * kernel, or to the thread that serves the entry. */
struct ring_ent {
	unsigned qid;	    /* the queue; equals the number of its CPU */
	uint64_t commit_id; /* of the last request; 0: none yet */
	/* Three parts: a page for the header, a page at whose end the request
	 * is assembled in front of its payload, and the payload. */
	struct req_header *header;
	char *payload;
	struct iovec iov[2];
};

/* A thread that serves one entry. */
struct worker {
	/* Fixed before the thread handles a request. */
	struct uring_pool *pool;
	struct ring_ent *ent;
	pthread_t thread;
	struct worker *next;

	/* Used only by the thread. */
	struct io_uring ring;
	uint64_t unique;     /* of the request; 0: replied */
	bool pinned;	     /* to the CPU of the entry's queue */
	bool used_payload;   /* since release_payload() */
	unsigned since_read; /* number of requests since the last read */
	int error;	     /* -errno of a start that failed */
};

enum phase {
	PREPARING, /* the new thread makes its ring */
	READY,
	FAILED,	 /* no ring; the thread ends */
	SERVING, /* the kernel knows that io_uring is used */
};

struct uring_pool {
	/* Fixed after uring_pool_new(). */
	struct fuse_session *se;
	struct buffers *buffers;
	int stop_fd; /* readable when threads must end */
	size_t page;
	cpu_set_t allowed; /* the CPUs that the program may use */

	/* Set by the thread that answers FUSE_INIT; fixed before other threads
	 * start. */
	size_t payload_size;
	size_t n_ents;
	size_t queue_depth;
	struct ring_ent *ents;
	char *memory; /* of all entries; NULL: none */
	size_t memory_size;
	bool has_dispatcher;

	/* Used only by the dispatcher. */
	struct worker dispatcher; /* without an entry of its own */
	bool worker_failed;	  /* the last start of a worker failed */
	bool logged_first;	  /* that requests come by io_uring */
	time_t next_log;	  /* earliest next line about failed requests */

	pthread_mutex_t lock; /* a leaf lock */
	pthread_cond_t changed;
	/* Protected by lock: */
	enum phase dispatcher_phase;
	enum phase worker_phase; /* of the worker that was started last */

	/* Log an error of the kernel once: each entry would report the same. */
	atomic_flag kernel_error_logged;

	/* Used by the dispatcher; after its end by uring_pool_stop(). */
	struct worker *workers;
};

/* The worker that runs on this thread; NULL on other threads. */
static _Thread_local struct worker *this_worker;

/* --- Rings --------------------------------------------------------------- */

/* The user_data of the poll of stop_fd. For other completions it is an index in
 * ents. */
#define STOP_EVENT UINT64_MAX

static void pause_before_retry(void)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };

	(void)nanosleep(&pause, NULL);
}

/*
 * Where the command goes in a submission. With IORING_SETUP_SQE128 it extends
 * beyond the end of the structure, so hide from the compiler where it points.
 */
static void *sqe_cmd(struct io_uring_sqe *sqe)
{
	void *cmd = sqe->cmd;

	__asm__("" : "+r"(cmd));
	return cmd;
}

/* Prepares to send the reply in an entry, or to register an entry that had no
 * request yet. */
static void prepare_ent_sqe(struct uring_pool *pool, struct io_uring *ring,
			    struct ring_ent *ent)
{
	struct cmd_req req = {
		.commit_id = ent->commit_id,
		.qid = (uint16_t)ent->qid,
	};
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring))) {
		if (io_uring_submit(ring) < 0)
			pause_before_retry(); /* short of kernel memory */
	}
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fuse_session_fd(pool->se),
			 ent->iov, G_N_ELEMENTS(ent->iov), 0);
	sqe->cmd_op = ent->commit_id ? CMD_COMMIT_AND_FETCH : CMD_REGISTER;
	sqe->user_data = (uint64_t)(ent - pool->ents);
	memcpy(sqe_cmd(sqe), &req, sizeof(req));
}

/* Makes a ring for this thread that also completes when stop_fd is readable. */
static int init_ring(struct uring_pool *pool, struct io_uring *ring,
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
	sqe->user_data = STOP_EVENT;
	return 0;
}

/* Submits prepared commands and waits for the next completion, at most the
 * given number of seconds (0: without limit). False if there is none. */
static bool wait_cqe(struct io_uring *ring, unsigned seconds,
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
		pause_before_retry(); /* the kernel is short of memory */
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

/* Waits until *phase is no longer from; returns the new phase. */
static enum phase wait_phase_change(struct uring_pool *pool,
				    const enum phase *phase, enum phase from)
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

/* Pins the thread to the CPU of its queue, or unpins it. Without permission to
 * use that CPU it may run on any allowed one. */
static void set_thread_cpu(struct worker *worker, bool pinned)
{
	const cpu_set_t *allowed = &worker->pool->allowed;
	unsigned cpu = worker->ent->qid;
	cpu_set_t own;

	if (pinned == worker->pinned)
		return;
	worker->pinned = pinned;
	CPU_ZERO(&own);
	if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, allowed))
		CPU_SET(cpu, &own);
	else
		own = *allowed;
	(void)sched_setaffinity(0, sizeof(own), pinned ? &own : allowed);
}

/* The commit_id identifies the request (fuse_uring_args_to_ring() in the
 * kernel). */
static void save_commit_id(struct ring_ent *ent)
{
	ent->commit_id = ent->header->ent.commit_id;
}

/* Assembles the request as /dev/fuse would deliver it, right before its
 * payload. False if the header is invalid. */
static bool assemble_request(const struct uring_pool *pool,
			     const struct ring_ent *ent,
			     struct fuse_buf *ret_request)
{
	const struct req_header *header = ent->header;
	struct fuse_in_header in;
	uint64_t begin, own;

	memcpy(&in, header->in_out, sizeof(in));
	begin = sizeof(in) + (uint64_t)header->ent.payload_size;
	own = in.len - begin;
	if (in.len < begin || own > sizeof(header->op_in) ||
	    header->ent.payload_size > pool->payload_size)
		return false;
	ret_request->size = in.len;
	ret_request->mem = ent->payload - own - sizeof(in);
	memcpy(ent->payload - own, header->op_in, own);
	memcpy(ret_request->mem, &in, sizeof(in));
	return true;
}

/* Writes a reply for the kernel into the entry. */
static void fill_reply(struct ring_ent *ent, int error, size_t payload_size)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + payload_size),
		.error = error,
		.unique = ent->commit_id,
	};

	memcpy(ent->header->in_out, &out, sizeof(out));
	ent->header->ent.payload_size = (uint32_t)payload_size;
}

/* Facts about a handled request. */
struct request_info {
	bool is_read;
	size_t size; /* bytes of the request, or bytes to read */
};

static struct request_info describe_request(const struct fuse_in_header *in)
{
	const struct fuse_read_in *read = (const void *)(in + 1);
	bool is_read = in->opcode == FUSE_READ &&
		       in->len >= sizeof(*in) + sizeof(*read);

	return (struct request_info){
		.is_read = is_read,
		.size = is_read ? read->size : in->len,
	};
}

/* Chooses the CPUs for the next request; see the top. */
static void update_affinity(struct worker *worker,
			    const struct request_info *last)
{
	worker->since_read = last->is_read ? 0 : worker->since_read + 1;
	set_thread_cpu(worker, last->is_read
				       ? last->size <= SHORT_READ_MAX
				       : worker->since_read < UNPIN_REQUESTS);
	worker->used_payload |= last->size >= LARGE_REQUEST;
}

/* Handles the request in the entry and prepares to send the reply. */
static struct request_info handle_request(struct worker *worker)
{
	struct uring_pool *pool = worker->pool;
	struct ring_ent *ent = worker->ent;
	struct fuse_buf request = { .size = 0 };
	struct request_info info = { .size = 0 };
	bool valid = assemble_request(pool, ent, &request);

	/* If the handler does not reply, the caller gets an error and not a
	 * success. */
	fill_reply(ent, -EIO, 0);
	if (valid) {
		info = describe_request(request.mem);
		worker->unique = ent->commit_id;
		fuse_session_process_buf(pool->se, &request);
		worker->unique = 0;
	}
	prepare_ent_sqe(pool, &worker->ring, ent);
	return info;
}

/* The worker is idle. The kernel cannot write a request into the payload at
 * this moment: with IORING_SETUP_DEFER_TASKRUN it does so only while this
 * thread waits for completions. */
static void release_payload(struct worker *worker)
{
	(void)madvise(worker->ent->payload, worker->pool->payload_size,
		      MADV_DONTNEED);
	worker->used_payload = false;
}

/* The connection has ended. */
static bool is_disconnect(int result)
{
	return result == -ENOTCONN || result == -ECONNABORTED ||
	       result == -ECANCELED;
}

/* The kernel was short of memory and did nothing: io_uring copies each command
 * (io_uring/uring_cmd.c), FUSE allocates a record for each entry. */
static bool is_transient(int result)
{
	return result == -ENOMEM || result == -EAGAIN;
}

/* Sends the reply again, which is still in the entry; otherwise the caller
 * would wait for ever. */
static void retry_command(struct uring_pool *pool, struct io_uring *ring,
			  struct ring_ent *ent)
{
	pause_before_retry();
	prepare_ent_sqe(pool, ring, ent);
}

/* Sends the reply and waits for the next request or the end. */
static struct io_uring_cqe fetch_request(struct worker *worker)
{
	struct io_uring_cqe cqe;

	for (;;) {
		if (!wait_cqe(&worker->ring,
			      worker->used_payload ? IDLE_SECONDS : 0, &cqe)) {
			/* Wait until the kernel has taken the reply. */
			if (worker->used_payload &&
			    io_uring_sq_ready(&worker->ring) == 0)
				release_payload(worker);
		} else if (cqe.user_data == STOP_EVENT ||
			   !is_transient(cqe.res)) {
			return cqe;
		} else {
			retry_command(worker->pool, &worker->ring, worker->ent);
		}
	}
}

/* Serves requests until the end, beginning with the one in the entry. */
static void serve_requests(struct worker *worker)
{
	struct io_uring_cqe cqe = { .res = 0 };

	while (cqe.user_data != STOP_EVENT && cqe.res == 0) {
		struct request_info last;

		save_commit_id(worker->ent);
		last = handle_request(worker);
		update_affinity(worker, &last);
		cqe = fetch_request(worker);
	}
	if (cqe.user_data != STOP_EVENT && !is_disconnect(cqe.res) &&
	    !atomic_flag_test_and_set(&worker->pool->kernel_error_logged))
		log_line(
			LOG_ERR,
			"the kernel refuses a reply by io_uring: %s; unmount and mount again, with -o uring=off if this message returns",
			g_strerror(-cqe.res));
}

static void *worker_main(void *data)
{
	struct worker *worker = data;
	struct uring_pool *pool = worker->pool;
	int r;

	this_worker = worker;
	r = buffers_lend(pool->buffers, worker->ent->payload,
			 pool->payload_size);
	if (!r)
		r = init_ring(pool, &worker->ring, 2, 4);
	worker->error = r;
	set_phase(pool, &pool->worker_phase, r ? FAILED : READY);
	if (r)
		return NULL;
	serve_requests(worker);
	io_uring_queue_exit(&worker->ring);
	return NULL;
}

/* Starts a worker for the entry and the request in it. Returns 0 or -errno. */
static int start_worker(struct uring_pool *pool, struct ring_ent *ent)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker)
		return -ENOMEM;
	worker->pool = pool;
	worker->ent = ent;
	set_phase(pool, &pool->worker_phase, PREPARING);
	r = bsp_thread_start(&worker->thread, worker_main, worker);
	if (!r &&
	    wait_phase_change(pool, &pool->worker_phase, PREPARING) == FAILED) {
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

/* --- The dispatcher ------------------------------------------------------ */

static void register_ents(struct uring_pool *pool)
{
	for (size_t i = 0; i < pool->n_ents; i++)
		prepare_ent_sqe(pool, &pool->dispatcher.ring, &pool->ents[i]);
}

/*
 * A release waits for no device. The kernel sends it once, whatever the reply.
 */
static bool is_release(const struct ring_ent *ent)
{
	struct fuse_in_header in;

	memcpy(&in, ent->header->in_out, sizeof(in));
	return in.opcode == FUSE_RELEASE || in.opcode == FUSE_RELEASEDIR;
}

static void log_failed_request(struct uring_pool *pool, int error)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec < pool->next_log)
		return;
	pool->next_log = now.tv_sec + LOG_SECONDS;
	log_line(
		LOG_ERR,
		"requests fail, because no thread with an io_uring can be started: %s; raise the limits of open files and processes, or mount with -o uring=off",
		g_strerror(-error));
}

/* Replies without a worker. The dispatcher handles a release itself. */
static void fail_request(struct uring_pool *pool, struct ring_ent *ent,
			 int error)
{
	struct worker *self = &pool->dispatcher;

	save_commit_id(ent);
	self->ent = ent;
	if (is_release(ent)) {
		(void)handle_request(self);
		return;
	}
	log_failed_request(pool, error);
	fill_reply(ent, -ENOMEM, 0);
	prepare_ent_sqe(pool, &self->ring, ent);
}

/* Starts a worker for the request; all workers of its queue are busy. */
static void dispatch_request(struct uring_pool *pool, struct ring_ent *ent)
{
	/* Other requests wait meanwhile. */
	int tries = pool->worker_failed ? 1 : START_TRIES;
	int r = start_worker(pool, ent);

	for (int i = 1; r && i < tries; i++) {
		pause_before_retry();
		r = start_worker(pool, ent);
	}
	pool->worker_failed = r != 0;
	if (r)
		fail_request(pool, ent, r);
}

/* Handles a completion of an entry that has no worker. */
static void handle_cqe(struct uring_pool *pool, struct ring_ent *ent,
		       int result)
{
	if (result == 0) {
		if (!pool->logged_first)
			log_line(LOG_INFO, "requests come by io_uring");
		pool->logged_first = true;
		dispatch_request(pool, ent);
	} else if (is_transient(result)) {
		retry_command(pool, &pool->dispatcher.ring, ent);
	} else if (!is_disconnect(result) &&
		   !atomic_flag_test_and_set(&pool->kernel_error_logged)) {
		log_line(LOG_WARNING, "the kernel refuses io_uring: %s",
			 g_strerror(-result));
	}
}

static void *dispatcher_main(void *data)
{
	struct uring_pool *pool = data;
	struct io_uring *ring = &pool->dispatcher.ring;
	struct io_uring_cqe cqe = { .res = 0 };
	bool ready =
		init_ring(pool, ring, DISPATCHER_SQES, pool->n_ents + 1) == 0;

	this_worker = &pool->dispatcher;
	set_phase(pool, &pool->dispatcher_phase, ready ? READY : FAILED);
	if (!ready)
		return NULL;
	if (wait_phase_change(pool, &pool->dispatcher_phase, READY) == SERVING)
		register_ents(pool);
	while (cqe.user_data != STOP_EVENT) {
		if (wait_cqe(ring, 0, &cqe) && cqe.user_data != STOP_EVENT)
			handle_cqe(pool, &pool->ents[cqe.user_data], cqe.res);
	}
	io_uring_queue_exit(ring);
	return NULL;
}

/* The kernel makes a queue for each possible CPU. */
static size_t count_possible_cpus(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned first = 0, last = 0;
	size_t n = 0;

	/* For example "0-7,16": ranges and single numbers. */
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

/* A device that hangs may hold one thread for each of its requests, and each
 * thread needs a descriptor for its ring. Without enough descriptors other
 * files would be cut off. A thread that reads /dev/fuse needs none. */
static bool has_descriptors(const struct uring_pool *pool, size_t n_ents)
{
	/* stop_fd was the lowest free descriptor. */
	rlim_t needed = (rlim_t)pool->stop_fd + n_ents + OTHER_FILES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
		return true;
	log_line(
		LOG_NOTICE,
		"io_uring may need %ju open files, but the limit (ulimit -n) is %ju",
		(uintmax_t)needed, (uintmax_t)limit.rlim_cur);
	return false;
}

/* The kernel provides the memory when it is first used. */
static bool create_ents(struct uring_pool *pool)
{
	size_t n_queues = count_possible_cpus();
	size_t queue_depth = CLAMP(ENTS_MAX / MAX(n_queues, 1), QUEUE_DEPTH_MIN,
				   QUEUE_DEPTH_MAX);
	size_t n = n_queues * queue_depth;
	size_t payload_pages =
		(pool->payload_size + pool->page - 1) / pool->page;
	size_t ent_size = (2 + payload_pages) * pool->page;

	if (n > SIZE_MAX / ent_size || !has_descriptors(pool, n))
		return false;
	pool->ents = calloc(n, sizeof(*pool->ents));
	if (!pool->ents)
		return false;
	pool->memory_size = n * ent_size;
	pool->memory = mmap(NULL, pool->memory_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED) {
		pool->memory = NULL;
		return false;
	}
	/* A huge page would be shared by several entries. */
	(void)madvise(pool->memory, pool->memory_size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n; i++) {
		struct ring_ent *ent = &pool->ents[i];
		char *memory = pool->memory + i * ent_size;

		ent->qid = (unsigned)(i / queue_depth);
		ent->header = (struct req_header *)memory;
		ent->payload = memory + 2 * pool->page;
		ent->iov[0].iov_base = ent->header;
		ent->iov[0].iov_len = sizeof(*ent->header);
		ent->iov[1].iov_base = ent->payload;
		ent->iov[1].iov_len = pool->payload_size;
	}
	pool->n_ents = n;
	pool->queue_depth = queue_depth;
	return n > 0;
}

bool uring_pool_start(struct uring_pool *pool, size_t payload_size)
{
	pool->payload_size = payload_size;
	if (!create_ents(pool) ||
	    bsp_thread_start(&pool->dispatcher.thread, dispatcher_main, pool))
		return false;
	pool->has_dispatcher = true;
	return wait_phase_change(pool, &pool->dispatcher_phase, PREPARING) ==
	       READY;
}

unsigned uring_pool_queue_depth(const struct uring_pool *pool)
{
	return (unsigned)pool->queue_depth;
}

void uring_pool_register(struct uring_pool *pool, bool accepted)
{
	set_phase(pool, &pool->dispatcher_phase, accepted ? SERVING : FAILED);
}

/* --- Replies ------------------------------------------------------------- */

bool uring_pool_is_worker(void)
{
	return this_worker != NULL;
}

bool uring_pool_has_request(uint64_t unique)
{
	return this_worker && unique == this_worker->unique;
}

/* The reply to a request that came by io_uring. Data in the buffer of this
 * thread is in its place already. */
ssize_t uring_pool_reply(const struct iovec *iov, int count)
{
	struct worker *worker = this_worker;
	struct ring_ent *ent = worker->ent;
	struct fuse_out_header out;
	size_t used = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > worker->pool->payload_size - used) {
			errno = EINVAL;
			return -1;
		}
		if (iov[i].iov_base != ent->payload + used)
			memmove(ent->payload + used, iov[i].iov_base,
				iov[i].iov_len);
		used += iov[i].iov_len;
	}
	fill_reply(ent, out.error, used);
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
	pool->dispatcher.pool = pool;
	atomic_flag_clear(&pool->kernel_error_logged);
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
	if (pool->has_dispatcher)
		(void)pthread_join(pool->dispatcher.thread, NULL);
	/* The dispatcher has ended, so no worker is added any more. */
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
	free(pool->ents);
	if (pool->stop_fd >= 0)
		(void)close(pool->stop_fd);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
