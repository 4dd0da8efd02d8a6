/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-server.h"

#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/range.h"
#include "blksparse-thread.h"

#define OPTION_MAGIC UINT64_C(0x49484156454F5054)
#define OPTION_REPLY_MAGIC UINT64_C(0x3e889045565a9)

enum {
	REQUEST_MAGIC = 0x25609513,
	SIMPLE_MAGIC = 0x67446698,
	STRUCTURED_MAGIC = 0x668e33ef,

	OPTION_ABORT = 2,
	OPTION_GO = 7,
	OPTION_STRUCTURED = 8,
	OPTION_SET_META = 10,
	REP_ACK = 1,
	REP_INFO = 3,
	REP_META = 4,

	CHUNK_NONE = 0,
	CHUNK_DATA = 1,
	CHUNK_STATUS = 5,
	CHUNK_ERROR = (1 << 15) + 1,

	CONTEXT_ID = 7,
	PAGE = 4096,
	BYTES_MAX = 256 << 20, /* that are kept of an export */
	PAYLOAD_MAX = 64 << 20,
	ENTRIES_MAX = 1 << 18,
	WAIT_MS = 10000,
};

#define REP_UNSUPPORTED (UINT32_C(1) << 31 | 1)

struct held {
	struct nbd_command command;
	uint64_t cookie;
	char *payload;
	struct connection *connection;
};

struct connection {
	struct nbd_server *server;
	int fd;
	unsigned number;
	pthread_t thread;
	bool refused, structured;
	pthread_mutex_t send_lock;
	struct nbd_export export;
};

struct nbd_server {
	char *folder, *path, *uri;
	in_port_t port; /* of a server on TCP */
	unsigned char *bytes;
	int fd; /* that listens; -1 */
	pthread_t acceptor;

	/* Held while a command is carried out. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Protected by lock: */
	struct nbd_export export;
	nbd_script_fn script;
	nbd_extents_fn extents;
	void *script_data, *extents_data;
	GArray *log, *held;
	GPtrArray *connections;
	unsigned n_connections, limit; /* 0: none */
};

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	g_printerr("nbd-server: %s: %s\n", what, g_strerror(errno));
	abort();
}

/* --- Bytes on the socket --- */

/* Returns false if the client has left. */
static bool receive(const struct connection *c, void *buf, size_t len)
{
	return len == 0 || recv(c->fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static void transmit(const struct connection *c, const void *buf, size_t len)
{
	while (len) {
		ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the client has left */
		buf = (const char *)buf + n;
		len -= (size_t)n;
	}
}

static void put(GByteArray *bytes, unsigned size, uint64_t value)
{
	value = htobe64(value);
	g_byte_array_append(bytes, (guint8 *)&value + (8 - size), size);
}

static uint64_t get(const unsigned char *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value = value << 8 | from[i];
	return value;
}

static void transmit_all(const struct connection *c, GByteArray *bytes)
{
	transmit(c, bytes->data, bytes->len);
	g_byte_array_unref(bytes);
}

/* --- The handshake --- */

static void answer_option(const struct connection *c, uint32_t option,
			  uint32_t type, GByteArray *data)
{
	GByteArray *out = g_byte_array_new();

	put(out, 8, OPTION_REPLY_MAGIC);
	put(out, 4, option);
	put(out, 4, type);
	put(out, 4, data ? data->len : 0);
	if (data) {
		g_byte_array_append(out, data->data, data->len);
		g_byte_array_unref(data);
	}
	transmit_all(c, out);
}

static void answer_go(const struct connection *c)
{
	GByteArray *info = g_byte_array_new();

	put(info, 2, 0); /* NBD_INFO_EXPORT */
	put(info, 8, c->export.size);
	put(info, 2, c->export.flags | 1);
	answer_option(c, OPTION_GO, REP_INFO, info);
	if (c->export.block_min) {
		info = g_byte_array_new();
		put(info, 2, 3); /* NBD_INFO_BLOCK_SIZE */
		put(info, 4, c->export.block_min);
		put(info, 4, bsp_max(c->export.block_min, 4096));
		put(info, 4, c->export.block_max);
		answer_option(c, OPTION_GO, REP_INFO, info);
	}
	answer_option(c, OPTION_GO, REP_ACK, NULL);
}

static void answer_context(const struct connection *c, uint64_t id,
			   const char *name)
{
	GByteArray *context = g_byte_array_new();

	put(context, 4, id);
	g_byte_array_append(context, (const guint8 *)name, (guint)strlen(name));
	answer_option(c, OPTION_SET_META, REP_META, context);
}

static void answer_meta(const struct connection *c)
{
	answer_context(c, CONTEXT_ID, "base:allocation");
	if (c->export.context)
		answer_context(c, CONTEXT_ID + 1, c->export.context);
	answer_option(c, OPTION_SET_META, REP_ACK, NULL);
}

/* Returns false if the connection ends. */
static bool shake_hands(struct connection *c)
{
	unsigned char head[16], flags[4], skipped[4096];
	GByteArray *hello = g_byte_array_new();

	g_byte_array_append(hello, (const guint8 *)"NBDMAGIC", 8);
	put(hello, 8, OPTION_MAGIC);
	put(hello, 2, 3); /* fixed newstyle, no zeroes */
	transmit_all(c, hello);
	if (!receive(c, flags, sizeof(flags)))
		return false;
	while (receive(c, head, sizeof(head))) {
		uint32_t option = (uint32_t)get(head + 8, 4);
		size_t len = (size_t)get(head + 12, 4);

		if (len > sizeof(skipped) || !receive(c, skipped, len))
			return false;
		if (option == OPTION_STRUCTURED && !c->export.simple) {
			c->structured = true;
			answer_option(c, option, REP_ACK, NULL);
		} else if (option == OPTION_SET_META && c->structured) {
			answer_meta(c);
		} else if (option == OPTION_GO) {
			answer_go(c);
			return true;
		} else if (option == OPTION_ABORT) {
			return false;
		} else {
			answer_option(c, option, REP_UNSUPPORTED, NULL);
		}
	}
	return false;
}

/* --- Replies. Lock held --- */

static GByteArray *begin_chunk(uint64_t cookie, unsigned type, size_t len)
{
	GByteArray *out = g_byte_array_new();

	put(out, 4, STRUCTURED_MAGIC);
	put(out, 2, 1); /* the last one */
	put(out, 2, type);
	put(out, 8, cookie);
	put(out, 4, len);
	return out;
}

static GByteArray *begin_simple(uint64_t cookie, unsigned error)
{
	GByteArray *out = g_byte_array_new();

	put(out, 4, SIMPLE_MAGIC);
	put(out, 4, error);
	put(out, 8, cookie);
	return out;
}

static GByteArray *reply(const struct connection *c, uint64_t cookie,
			 unsigned error)
{
	GByteArray *out;

	if (!c->structured)
		return begin_simple(cookie, error);
	out = begin_chunk(cookie, error ? CHUNK_ERROR : CHUNK_NONE,
			  error ? 6 : 0);
	if (error)
		put(out, 6, (uint64_t)error << 16); /* and no text */
	return out;
}

/* The bytes of a range that are kept. */
static size_t kept(uint64_t off, uint64_t len)
{
	return (size_t)bsp_range_clamp(off, len, BYTES_MAX);
}

static GByteArray *reply_read(const struct connection *c, uint64_t cookie,
			      uint64_t off, size_t len)
{
	GByteArray *out;
	guint head;

	if (c->structured) {
		out = begin_chunk(cookie, CHUNK_DATA, len + 8);
		put(out, 8, off);
	} else {
		out = begin_simple(cookie, 0);
	}
	head = out->len;
	g_byte_array_set_size(out, head + (guint)len);
	memset(out->data + head, 0, len);
	if (kept(off, len))
		memcpy(out->data + head, c->server->bytes + off,
		       kept(off, len));
	return out;
}

/* Has another chunk follow the first one. */
static void add_chunk(GByteArray *out, GByteArray *chunk)
{
	enum { FLAGS_END = 6 };

	out->data[FLAGS_END - 1] = 0; /* not the last one */
	g_byte_array_append(out, chunk->data, chunk->len);
	g_byte_array_unref(chunk);
}

/* Has a chunk for base:allocation follow that of another context: all is
 * zero. */
static void add_status_of_base(GByteArray *out, uint64_t cookie, uint32_t len)
{
	GByteArray *base = begin_chunk(cookie, CHUNK_STATUS, 4 + 8);

	put(base, 4, CONTEXT_ID);
	put(base, 4, len);
	put(base, 4, 3);
	add_chunk(out, base);
}

static GByteArray *reply_status(const struct connection *c,
				const struct nbd_command *command,
				uint64_t cookie)
{
	static uint32_t entries[2 * ENTRIES_MAX]; /* protected by lock */
	struct nbd_server *server = c->server;
	GByteArray *out;
	size_t n = 1;

	entries[0] = (uint32_t)command->len;
	entries[1] = 0;
	if (server->extents)
		n = server->extents(server->extents_data, command, entries,
				    ENTRIES_MAX);
	if (!n)
		return reply(c, cookie, 0);
	out = begin_chunk(cookie, CHUNK_STATUS, 4 + n * 8);
	put(out, 4, CONTEXT_ID + (c->export.context != NULL));
	for (size_t i = 0; i < 2 * n; i++)
		put(out, 4, entries[i]);
	if (c->export.context)
		add_status_of_base(out, cookie, (uint32_t)command->len);
	return out;
}

/* --- Commands --- */

/* Whole pages are given back, because long ranges take ThreadSanitizer long. */
static void zero(unsigned char *at, size_t len)
{
	if (((uintptr_t)at | len) % PAGE || madvise(at, len, MADV_DONTNEED) < 0)
		memset(at, 0, len);
}

/* Lock held. */
static void carry_out(const struct connection *c,
		      const struct nbd_command *command, const char *payload,
		      int action)
{
	uint64_t half = command->len / 2;
	uint64_t off = command->off + (action == NBD_LATER_HALF ? half : 0);
	uint64_t len = action == NBD_HALF	  ? half
		       : action == NBD_LATER_HALF ? command->len - half
						  : command->len;
	unsigned char *at = c->server->bytes + off;
	size_t n = kept(off, len);

	if (command->type == NBD_WRITE && n)
		memcpy(at, payload, n);
	else if (command->type == NBD_ZERO && n)
		zero(at, n);
}

/* Lock held. */
static GByteArray *answer(const struct connection *c,
			  const struct nbd_command *command, uint64_t cookie,
			  int action)
{
	GByteArray *out;

	if (action >= NBD_FAIL)
		return reply(c, cookie, (unsigned)(action - NBD_FAIL));
	if (command->type == NBD_READ && action == NBD_HALF)
		return reply_read(c, cookie, command->off,
				  (size_t)command->len / 2);
	if (command->type == NBD_READ && action != NBD_WITHOUT_DATA)
		return reply_read(c, cookie, command->off,
				  (size_t)command->len);
	if (command->type != NBD_STATUS)
		return reply(c, cookie, 0);
	out = reply_status(c, command, cookie);
	if (action == NBD_ANSWER_FAIL)
		add_chunk(out, reply(c, cookie, NBD_EIO));
	return out;
}

/* Carries a command out. Returns the reply; NULL if there is none. Lock held.
 */
static GByteArray *serve(const struct connection *c,
			 const struct nbd_command *command, const char *payload,
			 uint64_t cookie, int action)
{
	if (action == NBD_DROP)
		return NULL;
	if (action < NBD_FAIL)
		carry_out(c, command, payload, action);
	return action == NBD_SERVE_DROP ? NULL
					: answer(c, command, cookie, action);
}

/* The lock is not held: the client may not read for a while. */
static void transmit_reply(struct connection *c, GByteArray *bytes)
{
	pthread_mutex_lock(&c->send_lock);
	transmit_all(c, bytes);
	pthread_mutex_unlock(&c->send_lock);
}

/* Returns false if the connection ends. */
static bool handle(struct connection *c, const struct nbd_command *command,
		   char *payload, uint64_t cookie)
{
	struct nbd_server *server = c->server;
	struct held held = { *command, cookie, payload, c };
	GByteArray *out = NULL;
	int action = NBD_SERVE;

	pthread_mutex_lock(&server->lock);
	g_array_append_val(server->log, *command);
	if (server->script)
		action = server->script(server->script_data, command);
	if (action == NBD_HOLD)
		g_array_append_val(server->held, held);
	else
		out = serve(c, command, payload, cookie, action);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	if (action != NBD_HOLD)
		g_free(payload);
	if (out)
		transmit_reply(c, out);
	return action == NBD_HOLD || (out && action != NBD_REPLY_DROP);
}

static bool handle_next(struct connection *c)
{
	unsigned char head[28];
	struct nbd_command command = { .connection = c->number,
				       .structured = c->structured };
	char *payload = NULL;
	uint64_t cookie;

	if (!receive(c, head, sizeof(head)))
		return false;
	must(get(head, 4) == REQUEST_MAGIC, "no request");
	command.flags = (unsigned)get(head + 4, 2);
	command.type = (enum nbd_type)get(head + 6, 2);
	cookie = get(head + 8, 8);
	command.off = get(head + 16, 8);
	command.len = get(head + 24, 4);
	if (command.type == NBD_DISC)
		return false;
	if (command.type == NBD_WRITE) {
		must(command.len <= PAYLOAD_MAX, "write is too long");
		payload = g_malloc((size_t)command.len);
		if (!receive(c, payload, (size_t)command.len)) {
			g_free(payload);
			return false;
		}
	}
	return handle(c, &command, payload, cookie);
}

/* --- Connections --- */

static void *connection_main(void *data)
{
	struct connection *c = data;

	if (!c->refused && shake_hands(c)) {
		while (handle_next(c))
			;
	}
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void *acceptor_main(void *data)
{
	struct nbd_server *server = data;
	int fd;

	while ((fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct connection *c = g_new0(struct connection, 1);

		pthread_mutex_lock(&server->lock);
		c->server = server;
		c->fd = fd;
		c->number = ++server->n_connections;
		c->refused = server->limit && c->number > server->limit;
		c->export = server->export;
		pthread_mutex_init(&c->send_lock, NULL);
		g_ptr_array_add(server->connections, c);
		must(bsp_thread_start(&c->thread, connection_main, c) == 0,
		     "start a thread");
		pthread_mutex_unlock(&server->lock);
	}
	return NULL;
}

/* Forgets the commands that are held of connections. Lock held. */
static void forget_held(struct nbd_server *server, const GPtrArray *connections)
{
	for (guint i = server->held->len; i > 0; i--) {
		struct held *held =
			&g_array_index(server->held, struct held, i - 1);

		if (!g_ptr_array_find((GPtrArray *)connections,
				      held->connection, NULL))
			continue;
		g_free(held->payload);
		g_array_remove_index(server->held, i - 1);
	}
}

void nbd_server_drop(struct nbd_server *server)
{
	GPtrArray *connections;

	pthread_mutex_lock(&server->lock);
	connections = server->connections;
	server->connections = g_ptr_array_new();
	for (guint i = 0; i < connections->len; i++)
		shutdown(((struct connection *)connections->pdata[i])->fd,
			 SHUT_RDWR);
	pthread_mutex_unlock(&server->lock);
	for (guint i = 0; i < connections->len; i++)
		pthread_join(
			((struct connection *)connections->pdata[i])->thread,
			NULL);
	pthread_mutex_lock(&server->lock);
	forget_held(server, connections);
	pthread_mutex_unlock(&server->lock);
	for (guint i = 0; i < connections->len; i++) {
		struct connection *c = connections->pdata[i];

		close(c->fd);
		pthread_mutex_destroy(&c->send_lock);
		g_free(c);
	}
	g_ptr_array_unref(connections);
}

void nbd_server_stop(struct nbd_server *server)
{
	if (server->fd >= 0) {
		shutdown(server->fd, SHUT_RDWR);
		pthread_join(server->acceptor, NULL);
		close(server->fd);
		server->fd = -1;
		unlink(server->path);
	}
	nbd_server_drop(server);
}

static bool bind_path(struct nbd_server *server)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	g_strlcpy(address.sun_path, server->path, sizeof(address.sun_path));
	return bind(server->fd, (struct sockaddr *)&address, sizeof(address)) ==
	       0;
}

/* The first time on any port, then on that again. */
static bool bind_port(struct nbd_server *server)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = server->port,
				       .sin_addr.s_addr =
					       htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int on = 1;

	if (setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(server->fd, (struct sockaddr *)&address, len) ||
	    getsockname(server->fd, (struct sockaddr *)&address, &len))
		return false;
	server->port = address.sin_port;
	return true;
}

void nbd_server_start(struct nbd_server *server,
		      const struct nbd_export *export)
{
	bool tcp;

	if (export)
		server->export = *export;
	tcp = server->export.tcp;
	server->fd =
		socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(server->fd >= 0 && (tcp ? bind_port(server) : bind_path(server)) &&
		     listen(server->fd, 64) == 0,
	     "listen");
	must(bsp_thread_start(&server->acceptor, acceptor_main, server) == 0,
	     "start a thread");
}

void nbd_server_set_export(struct nbd_server *server,
			   const struct nbd_export *export)
{
	pthread_mutex_lock(&server->lock);
	server->export = *export;
	pthread_mutex_unlock(&server->lock);
}

void nbd_server_limit(struct nbd_server *server, unsigned n)
{
	pthread_mutex_lock(&server->lock);
	server->limit = n;
	pthread_mutex_unlock(&server->lock);
}

struct nbd_server *nbd_server_new(const struct nbd_export *export)
{
	struct nbd_server *server = g_new0(struct nbd_server, 1);

	server->folder = g_dir_make_tmp("nbd-server-XXXXXX", NULL);
	must(server->folder != NULL, "make a directory");
	server->path = g_build_filename(server->folder, "socket", NULL);
	server->bytes =
		mmap(NULL, BYTES_MAX, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(server->bytes != MAP_FAILED, "get memory");
	pthread_mutex_init(&server->lock, NULL);
	bsp_cond_init(&server->changed);
	server->log = g_array_new(FALSE, FALSE, sizeof(struct nbd_command));
	server->held = g_array_new(FALSE, FALSE, sizeof(struct held));
	server->connections = g_ptr_array_new();
	nbd_server_start(server, export);
	server->uri = export->tcp
			      ? g_strdup_printf("nbd://127.0.0.1:%u/disk",
						ntohs(server->port))
			      : g_strdup_printf("nbd+unix:///disk?socket=%s",
						server->path);
	return server;
}

void nbd_server_free(struct nbd_server *server)
{
	nbd_server_stop(server);
	rmdir(server->folder);
	munmap(server->bytes, BYTES_MAX);
	g_ptr_array_unref(server->connections);
	g_array_unref(server->held);
	g_array_unref(server->log);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	g_free(server->uri);
	g_free(server->path);
	g_free(server->folder);
	g_free(server);
}

/* --- For tests --- */

const char *nbd_server_uri(const struct nbd_server *server)
{
	return server->uri;
}

void nbd_server_script(struct nbd_server *server, nbd_script_fn script,
		       void *data)
{
	pthread_mutex_lock(&server->lock);
	server->script = script;
	server->script_data = data;
	pthread_mutex_unlock(&server->lock);
}

void nbd_server_extents(struct nbd_server *server, nbd_extents_fn extents,
			void *data)
{
	pthread_mutex_lock(&server->lock);
	server->extents = extents;
	server->extents_data = data;
	pthread_mutex_unlock(&server->lock);
}

/* Lock held. */
static unsigned count(const struct nbd_server *server, enum nbd_type type)
{
	unsigned n = 0;

	for (guint i = 0; i < server->log->len; i++)
		n += g_array_index(server->log, struct nbd_command, i).type ==
		     type;
	return n;
}

bool nbd_server_wait_held(struct nbd_server *server, unsigned n)
{
	struct timespec limit = bsp_cond_limit(WAIT_MS);
	bool done;

	pthread_mutex_lock(&server->lock);
	while (server->held->len < n &&
	       pthread_cond_timedwait(&server->changed, &server->lock,
				      &limit) == 0)
		;
	done = server->held->len >= n;
	pthread_mutex_unlock(&server->lock);
	return done;
}

bool nbd_server_wait_count(struct nbd_server *server, enum nbd_type type,
			   unsigned n)
{
	struct timespec limit = bsp_cond_limit(WAIT_MS);
	bool done;

	pthread_mutex_lock(&server->lock);
	while (count(server, type) < n &&
	       pthread_cond_timedwait(&server->changed, &server->lock,
				      &limit) == 0)
		;
	done = count(server, type) >= n;
	pthread_mutex_unlock(&server->lock);
	return done;
}

static void end_held(struct nbd_server *server, bool reversed, int action)
{
	GArray *held;

	pthread_mutex_lock(&server->lock);
	held = server->held;
	server->held = g_array_new(FALSE, FALSE, sizeof(struct held));
	pthread_mutex_unlock(&server->lock);
	for (guint i = 0; i < held->len; i++) {
		struct held *next = &g_array_index(
			held, struct held, reversed ? held->len - 1 - i : i);
		GByteArray *out;

		pthread_mutex_lock(&server->lock);
		out = serve(next->connection, &next->command, next->payload,
			    next->cookie, action);
		pthread_mutex_unlock(&server->lock);
		transmit_reply(next->connection, out);
		g_free(next->payload);
	}
	g_array_unref(held);
}

void nbd_server_release(struct nbd_server *server, bool reversed)
{
	end_held(server, reversed, NBD_SERVE);
}

void nbd_server_refuse(struct nbd_server *server, unsigned error)
{
	end_held(server, false, (int)(NBD_FAIL + error));
}

unsigned nbd_server_count(struct nbd_server *server, enum nbd_type type)
{
	unsigned n;

	pthread_mutex_lock(&server->lock);
	n = count(server, type);
	pthread_mutex_unlock(&server->lock);
	return n;
}

struct nbd_command nbd_server_command(struct nbd_server *server,
				      enum nbd_type type, unsigned nth)
{
	struct nbd_command found = { .type = NBD_TYPES };

	pthread_mutex_lock(&server->lock);
	for (guint i = 0; i < server->log->len; i++) {
		struct nbd_command *command =
			&g_array_index(server->log, struct nbd_command, i);

		if (command->type == type && nth-- == 0)
			found = *command;
	}
	pthread_mutex_unlock(&server->lock);
	must(found.type == type, "no such command");
	return found;
}

void nbd_server_clear(struct nbd_server *server)
{
	pthread_mutex_lock(&server->lock);
	g_array_set_size(server->log, 0);
	pthread_mutex_unlock(&server->lock);
}

unsigned nbd_server_connections(struct nbd_server *server)
{
	unsigned n;

	pthread_mutex_lock(&server->lock);
	n = server->n_connections;
	pthread_mutex_unlock(&server->lock);
	return n;
}

void nbd_server_get(struct nbd_server *server, uint64_t off, void *buf,
		    size_t len)
{
	pthread_mutex_lock(&server->lock);
	memcpy(buf, server->bytes + off, len);
	pthread_mutex_unlock(&server->lock);
}

void nbd_server_set(struct nbd_server *server, uint64_t off, const void *buf,
		    size_t len)
{
	pthread_mutex_lock(&server->lock);
	memcpy(server->bytes + off, buf, len);
	pthread_mutex_unlock(&server->lock);
}
