/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The buffer is a thread-specific value: pthread_getspecific(3) finds it
 * without a lock, and the end of the thread frees it. A lent buffer (the
 * payload of an io_uring worker) is preferred, because data in it needs no
 * copy. A request that is larger than the lent buffer gets memory of its own.
 */
#include "buffer.h"

#include <errno.h>
#include <stdlib.h>

enum { ALIGN = 4096 };

struct buffer {
	size_t size;
	void *mem;
	size_t lent_size;
	void *lent; /* lent by the caller of buffers_lend() */
};

static void buffer_free(void *data)
{
	struct buffer *buffer = data;

	free(buffer->mem);
	free(buffer);
}

int buffers_init(struct buffers *buffers)
{
	return -pthread_key_create(&buffers->key, buffer_free);
}

void buffers_done(struct buffers *buffers)
{
	(void)pthread_key_delete(buffers->key);
}

static struct buffer *buffer_of_thread(struct buffers *buffers)
{
	struct buffer *buffer = pthread_getspecific(buffers->key);

	if (buffer)
		return buffer;
	buffer = calloc(1, sizeof(*buffer));
	if (buffer && pthread_setspecific(buffers->key, buffer)) {
		free(buffer);
		return NULL;
	}
	return buffer;
}

int buffers_lend(struct buffers *buffers, void *mem, size_t size)
{
	struct buffer *buffer = buffer_of_thread(buffers);

	if (!buffer)
		return -ENOMEM;
	buffer->lent = mem;
	buffer->lent_size = size;
	return 0;
}

void *buffers_get(struct buffers *buffers, size_t size)
{
	struct buffer *buffer = buffer_of_thread(buffers);

	if (!buffer)
		return NULL;
	if (buffer->lent && buffer->lent_size >= size)
		return buffer->lent;
	if (buffer->size >= size && buffer->mem)
		return buffer->mem;
	free(buffer->mem);
	buffer->size = 0;
	if (posix_memalign(&buffer->mem, ALIGN, size ? size : ALIGN)) {
		buffer->mem = NULL;
		return NULL;
	}
	buffer->size = size;
	return buffer->mem;
}
