/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The choice of the kind of read queue, and the kind that uses threads.
 *
 * That kind starts a thread for a read while all others are busy, up to
 * THREADS_MAX. If it cannot start any, the owner reads by itself when it waits.
 */
#include "device/read-queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "blksparse-thread.h"

struct bsp_read_queue *bsp_read_queue_new(struct bsp_device *dev,
					  unsigned depth)
{
	int fd = dev->ops->read_fd ? dev->ops->read_fd(dev) : -1;
	struct bsp_read_queue *queue = NULL;

	if (dev->ops->read_queue)
		queue = dev->ops->read_queue(dev, depth);
	else if (fd >= 0)
		queue = bsp_read_queue_uring_new(fd, depth);
	if (!queue)
		queue = bsp_read_queue_threads_new(dev, depth);
	if (queue)
		queue->dev = dev;
	return queue;
}

void bsp_read_queue_free(struct bsp_read_queue *queue)
{
	if (!queue)
		return;
	while (bsp_read_wait(queue))
		;
	queue->free(queue);
}

void bsp_read_submit(struct bsp_read_queue *queue, struct bsp_read *read)
{
	queue->in_flight++;
	queue->submit(queue, read);
}

void bsp_read_start(struct bsp_read_queue *queue)
{
	if (queue->start)
		queue->start(queue);
}

struct bsp_read *bsp_read_wait(struct bsp_read_queue *queue)
{
	struct bsp_read *read;

	if (!queue->in_flight)
		return NULL;
	queue->in_flight--;
	read = queue->wait(queue);
	/* The descriptor refuses some reads that the device's own read() takes,
	 * such as one of a part of a block at the device's end. */
	if (read->result == -EINVAL && queue->dev)
		read->result = queue->dev->ops->read(queue->dev, read->off,
						     read->buf, read->len);
	if (queue->dev)
		bsp_device_count_read(queue->dev, read->off, read->result);
	return read;
}

/* --- Threads --- */

/* More do not help: this kind reads image files, and devices whose driver
 * refuses direct reads. */
enum { THREADS_MAX = 8 };

struct list {
	struct bsp_read *first, *last;
};

struct threads {
	struct bsp_read_queue queue;
	/* Fixed after creation. */
	bsp_read_fn read;
	void *data;
	unsigned n_max;

	/* Used by the owner of the queue alone. */
	pthread_t thread[THREADS_MAX];
	unsigned n;

	pthread_mutex_t lock;
	pthread_cond_t work, done;
	/* Protected by lock: */
	struct list todo, finished;
	unsigned idle; /* number of threads that wait for work */
	bool stop;
};

static void append(struct list *list, struct bsp_read *read)
{
	read->next = NULL;
	if (list->first)
		list->last->next = read;
	else
		list->first = read;
	list->last = read;
}

static struct bsp_read *pop(struct list *list)
{
	struct bsp_read *read = list->first;

	if (read)
		list->first = read->next;
	return read;
}

static void *threads_main(void *data)
{
	struct threads *t = data;
	struct bsp_read *read;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		read = pop(&t->todo);
		if (!read) {
			t->idle++;
			pthread_cond_wait(&t->work, &t->lock);
			t->idle--;
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		read->result =
			t->read(t->data, read->off, read->buf, read->len);
		pthread_mutex_lock(&t->lock);
		append(&t->finished, read);
		pthread_cond_signal(&t->done);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_submit(struct bsp_read_queue *queue, struct bsp_read *read)
{
	struct threads *t = (struct threads *)queue;
	bool busy;

	pthread_mutex_lock(&t->lock);
	append(&t->todo, read);
	busy = !t->idle;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
	/* Without any thread, the owner reads by itself in threads_wait(). */
	if (busy && t->n < t->n_max)
		t->n += bsp_thread_start(&t->thread[t->n], threads_main, t) ==
			0;
}

static struct bsp_read *threads_wait(struct bsp_read_queue *queue)
{
	struct threads *t = (struct threads *)queue;
	struct bsp_read *read = NULL;

	pthread_mutex_lock(&t->lock);
	if (t->n == 0) {
		read = pop(&t->todo);
		read->result =
			t->read(t->data, read->off, read->buf, read->len);
	}
	while (!read) {
		read = pop(&t->finished);
		if (!read)
			pthread_cond_wait(&t->done, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return read;
}

static void threads_free(struct bsp_read_queue *queue)
{
	struct threads *t = (struct threads *)queue;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < t->n; i++)
		pthread_join(t->thread[i], NULL);
	pthread_cond_destroy(&t->done);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static ssize_t read_device(void *data, uint64_t off, void *buf, size_t len)
{
	struct bsp_device *dev = data;

	return dev->ops->read(dev, off, buf, len);
}

struct bsp_read_queue *bsp_read_queue_threads_new(struct bsp_device *dev,
						  unsigned depth)
{
	return bsp_read_queue_calls_new(read_device, dev, depth);
}

struct bsp_read_queue *bsp_read_queue_calls_new(bsp_read_fn read, void *data,
						unsigned depth)
{
	struct threads *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->queue.submit = threads_submit;
	t->queue.wait = threads_wait;
	t->queue.free = threads_free;
	t->read = read;
	t->data = data;
	t->n_max = depth < THREADS_MAX ? depth : THREADS_MAX;
	pthread_mutex_init(&t->lock, NULL);
	bsp_cond_init(&t->work);
	bsp_cond_init(&t->done);
	return &t->queue;
}
