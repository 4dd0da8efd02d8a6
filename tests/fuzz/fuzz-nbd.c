/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uses an NBD export whose server does what the input says, and checks what the
 * device promises (device.h): calls end, counts are in their bounds, and zeros
 * are known only where the server claimed them.
 *
 * The first byte of the input chooses the use: bit 0 opens the device for
 * writing, bit 1 has the server say that it takes several connections. Then
 * comes a record for each message of the client, in the order in which the
 * server gets them: its connection, each option of the negotiation, each
 * command. The first byte of a record is its kind (enum kind). The server is
 * honest where there is no record, or one that does not fit the message. So an
 * input of few bytes is a whole session with few lies.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "blksparse.h"
#include "device/device.h"
#include "device/nbd.h"
#include "device/zero-range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	SIZE = 1 << 18, /* of the export; a quarter is data */
	DATA_OFF = SIZE / 2,
	DATA_END = DATA_OFF + SIZE / 4,
	CLIENTS = 8,
	CLAIMS = 256,
	CONTEXT_ID = 5,
	/* Without a message for so long, a client waits for bytes that never
	 * come: milliseconds. */
	PATIENCE_MS = 20,
};

enum kind {
	HONEST,
	RAW,	     /* u16 length, bytes: instead of a reply */
	RAW_COOKIES, /* the same; the replies get the cookie of the command */
	EXTENTS,     /* u8 count, pairs of u32 length, u32 flags */
	CHUNKS,	     /* u8 count, of each: u8 type, i16 offset, u16 length */
	FAILURE,     /* u32 error */
	LATER,	     /* after the reply to the next command */
	CLOSE,
	EXPORT, /* u64 size, u16 flags, 3 × u32 block sizes */
	KINDS,
};

struct client {
	int fd; /* -1: none */
	bool greeted, structured;
	unsigned char held[32]; /* a request for LATER */
	bool holds;
};

static struct {
	/* The input. Used by the server's thread alone, but for the last. */
	const uint8_t *data;
	size_t len, at;
	bool multi_conn;
	struct client clients[CLIENTS];
	unsigned char image[SIZE];

	/* The zeros that were claimed. */
	pthread_mutex_t lock;
	struct claim {
		uint64_t off, end;
	} claims[CLAIMS];
	unsigned claimed;
	bool anything; /* raw bytes may have claimed anything */

	int listener, stop;
	char uri[160];
} server = { .lock = PTHREAD_MUTEX_INITIALIZER, .listener = -1 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* --- The input --- */

static uint64_t take(unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++) {
		uint64_t byte =
			server.at < server.len ? server.data[server.at++] : 0;
		value |= byte << (8 * i);
	}
	return value;
}

static enum kind take_kind(void)
{
	return (enum kind)(take(1) % KINDS);
}

/* --- Bytes to and from a client --- */

static void hang_up(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
}

/* A message of a client is there at once, but for long writes. */
static bool receive(struct client *client, void *buf, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(client->fd, (char *)buf + at, len - at, 0);

		if (n <= 0) {
			hang_up(client);
			return false;
		}
		at += (size_t)n;
	}
	return true;
}

static void skip(struct client *client, uint64_t len)
{
	char buf[4096];

	while (len > 0 && client->fd >= 0) {
		size_t n = len < sizeof(buf) ? (size_t)len : sizeof(buf);

		if (receive(client, buf, n))
			len -= n;
	}
}

/* The sockets have room for all replies that are made here; a client that does
 * not read loses the rest. */
static void transmit(struct client *client, const void *buf, size_t len)
{
	if (client->fd >= 0 &&
	    send(client->fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		hang_up(client);
}

static void put(unsigned char **at, unsigned bytes, uint64_t value)
{
	while (bytes-- > 0)
		*(*at)++ = (unsigned char)(value >> (8 * bytes));
}

static uint64_t get(const unsigned char *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | *at++;
	return value;
}

/* Sends the bytes of a record, with that cookie in each reply if there is one.
 */
static void transmit_raw(struct client *client, const unsigned char *cookie)
{
	unsigned char buf[4096];
	size_t len = (size_t)take(2) % sizeof(buf), at = 0;

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)take(1);
	while (cookie && len - at >= 16) {
		memcpy(buf + at + 8, cookie, 8);
		if (get(buf + at, 4) != 0x668e33ef || len - at < 20)
			break;
		at += 20;
		at += (size_t)get(buf + at - 4, 4) % (len - at + 1);
	}
	pthread_mutex_lock(&server.lock);
	server.anything = true;
	pthread_mutex_unlock(&server.lock);
	transmit(client, buf, len);
}

/* --- The negotiation --- */

static void reply_option(struct client *client, uint64_t option, uint64_t type,
			 const unsigned char *payload, size_t len)
{
	unsigned char buf[64], *at = buf;

	put(&at, 8, 0x3e889045565a9);
	put(&at, 4, option);
	put(&at, 4, type);
	put(&at, 4, len);
	transmit(client, buf, (size_t)(at - buf));
	transmit(client, payload, len);
}

enum { ACK = 1, INFO = 3, META = 4 };

static void reply_go(struct client *client, uint64_t option, enum kind kind)
{
	unsigned char buf[32], *at = buf;
	bool lies = kind == EXPORT;
	/* Flags, flush, FUA, trim, zeroes, DF, fast zero; several. */
	uint64_t flags = 0x8ed | (server.multi_conn ? 0x100 : 0);
	uint64_t size = lies ? take(8) : SIZE;

	put(&at, 2, 0);
	put(&at, 8, size);
	put(&at, 2, lies ? take(2) : flags);
	reply_option(client, option, INFO, buf, (size_t)(at - buf));
	at = buf;
	put(&at, 2, 3);
	put(&at, 4, lies ? take(4) : 1);
	put(&at, 4, lies ? take(4) : 4096);
	put(&at, 4, lies ? take(4) : 65536);
	reply_option(client, option, INFO, buf, (size_t)(at - buf));
	reply_option(client, option, ACK, NULL, 0);
}

static void reply_meta(struct client *client, uint64_t option)
{
	static const char name[] = "base:allocation";
	unsigned char buf[32], *at = buf;

	put(&at, 4, CONTEXT_ID);
	memcpy(at, name, sizeof(name) - 1);
	reply_option(client, option, META, buf, 4 + sizeof(name) - 1);
	reply_option(client, option, ACK, NULL, 0);
}

static void negotiate(struct client *client, const unsigned char *head)
{
	uint64_t option = get(head + 8, 4);
	enum kind kind;

	skip(client, get(head + 12, 4));
	kind = take_kind();
	if (kind == CLOSE)
		hang_up(client);
	else if (kind == RAW || kind == RAW_COOKIES)
		transmit_raw(client, NULL);
	else if (kind == FAILURE)
		reply_option(client, option, take(4) | 1u << 31, NULL, 0);
	else if (option == 7)
		reply_go(client, option, kind);
	else if (option == 10)
		reply_meta(client, option);
	else if (option == 8)
		reply_option(client, option, ACK, NULL, 0);
	else
		reply_option(client, option, 0x80000001, NULL, 0);
	client->structured |= option == 8;
}

/* --- Replies --- */

static void claim(uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&server.lock);
	if (server.claimed == CLAIMS)
		server.anything = true;
	else
		server.claims[server.claimed++] =
			(struct claim){ off, off + len };
	pthread_mutex_unlock(&server.lock);
}

static void reply_simple(struct client *client, const unsigned char *request,
			 uint64_t error)
{
	unsigned char buf[16], *at = buf;

	put(&at, 4, 0x67446698);
	put(&at, 4, error);
	memcpy(at, request + 8, 8);
	transmit(client, buf, sizeof(buf));
}

static void begin_chunk(struct client *client, const unsigned char *request,
			bool last, unsigned type, uint64_t len)
{
	unsigned char buf[20], *at = buf;

	put(&at, 4, 0x668e33ef);
	put(&at, 2, last);
	put(&at, 2, type);
	memcpy(at, request + 8, 8);
	at += 8;
	put(&at, 4, len);
	transmit(client, buf, sizeof(buf));
}

static void reply_failure(struct client *client, const unsigned char *request)
{
	unsigned char buf[6], *at = buf;
	uint64_t error = take(4);

	if (!client->structured) {
		reply_simple(client, request, error);
		return;
	}
	put(&at, 4, error);
	put(&at, 2, 0);
	begin_chunk(client, request, true, 0x8001, sizeof(buf));
	transmit(client, buf, sizeof(buf));
}

static void transmit_data(struct client *client, uint64_t off, uint64_t len)
{
	uint64_t there = off < SIZE ? SIZE - off : 0;

	if (len > there)
		len = there;
	transmit(client, server.image + (len ? off : 0), (size_t)len);
}

static void reply_read(struct client *client, const unsigned char *request,
		       uint64_t off, uint64_t len)
{
	unsigned char buf[8], *at = buf;

	if (off > SIZE || len > SIZE - off) {
		reply_simple(client, request, EINVAL);
		return;
	}
	if (!client->structured) {
		reply_simple(client, request, 0);
		transmit_data(client, off, len);
		return;
	}
	put(&at, 8, off);
	begin_chunk(client, request, true, 1, 8 + len);
	transmit(client, buf, 8);
	transmit_data(client, off, len);
}

/* Chunks of data and holes near the range that was asked for. */
static void reply_chunks(struct client *client, const unsigned char *request,
			 uint64_t off)
{
	unsigned count = (unsigned)take(1) % 8;

	for (unsigned i = 0; i < count && client->fd >= 0; i++) {
		unsigned char buf[12], *at = buf;
		bool last = i + 1 == count, hole = take(1) & 1;
		uint64_t start = off + (uint64_t)(int16_t)take(2);
		uint64_t len = take(2);

		put(&at, 8, start);
		put(&at, 4, len);
		begin_chunk(client, request, last, hole ? 2 : 1,
			    hole ? 12 : 8 + len);
		transmit(client, buf, hole ? 12 : 8);
		for (uint64_t sent = 0; !hole && sent < len; sent += 4096)
			transmit(client, server.image,
				 len - sent < 4096 ? (size_t)(len - sent)
						   : 4096);
	}
}

/* Puts one extent into a chunk, and notes its claim. */
static void put_extent(unsigned char **at, uint64_t off, uint64_t len,
		       uint64_t flags)
{
	put(at, 4, len);
	put(at, 4, flags);
	if (flags & 2)
		claim(off, len);
}

static void put_honest(unsigned char **at, uint64_t off)
{
	const uint64_t ends[] = { DATA_OFF, DATA_END, SIZE };

	for (unsigned i = 0; i < 3; i++) {
		if (off < ends[i]) {
			put_extent(at, off, ends[i] - off, i == 1 ? 0 : 3);
			off = ends[i];
		}
	}
}

static void put_lies(unsigned char **at, uint64_t off)
{
	unsigned count = (unsigned)take(1) % 64;

	for (unsigned i = 0; i < count; i++) {
		uint64_t len = take(4);

		put_extent(at, off, len, take(4));
		off += len;
	}
}

static void reply_extents(struct client *client, const unsigned char *request,
			  uint64_t off, bool lies)
{
	unsigned char buf[4 + 64 * 8], *at = buf;

	put(&at, 4, CONTEXT_ID);
	if (lies)
		put_lies(&at, off);
	else
		put_honest(&at, off);
	begin_chunk(client, request, true, 5, (uint64_t)(at - buf));
	transmit(client, buf, (size_t)(at - buf));
}

enum { READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, ZEROES, STATUS };

/* Writing changes nothing: only claims of zeros are compared with reads. */
static void reply(struct client *client, const unsigned char *request,
		  enum kind kind)
{
	uint64_t command = get(request + 6, 2);
	uint64_t off = get(request + 16, 8), len = get(request + 24, 4);

	if (kind == CLOSE || command == DISCONNECT)
		hang_up(client);
	else if (kind == RAW || kind == RAW_COOKIES)
		transmit_raw(client, kind == RAW_COOKIES ? request + 8 : NULL);
	else if (kind == FAILURE)
		reply_failure(client, request);
	else if (kind == CHUNKS)
		reply_chunks(client, request, off);
	else if (command == STATUS || kind == EXTENTS)
		reply_extents(client, request, off, kind == EXTENTS);
	else if (command == READ)
		reply_read(client, request, off, len);
	else
		reply_simple(client, request, 0);
}

static void carry_out(struct client *client, const unsigned char *request)
{
	unsigned char held[32];
	bool holds = client->holds;
	enum kind kind;

	if (get(request + 6, 2) == WRITE)
		skip(client, get(request + 24, 4));
	kind = take_kind();
	memcpy(held, client->held, sizeof(held));
	if (kind == LATER && !holds) {
		memcpy(client->held, request, 28);
		client->holds = true;
		return;
	}
	client->holds = false;
	reply(client, request, kind);
	if (holds && client->fd >= 0)
		reply(client, held, HONEST);
}

/* --- The server --- */

static void greet(int fd)
{
	unsigned char buf[18], *at = buf;
	struct client *client = NULL;
	enum kind kind;

	for (unsigned i = 0; i < CLIENTS; i++) {
		if (server.clients[i].fd < 0)
			client = &server.clients[i];
	}
	if (!client) {
		close(fd);
		return;
	}
	*client = (struct client){ .fd = fd };
	kind = take_kind();
	put(&at, 8, 0x4e42444d41474943);
	put(&at, 8, 0x49484156454f5054);
	put(&at, 2, 3);
	if (kind == CLOSE)
		hang_up(client);
	else if (kind == RAW)
		transmit_raw(client, NULL);
	else
		transmit(client, buf, sizeof(buf));
}

static void serve(struct client *client)
{
	unsigned char head[32];

	if (!client->greeted) {
		client->greeted = receive(client, head, 4);
		return;
	}
	if (!receive(client, head, 16))
		return;
	if (get(head, 8) == 0x49484156454f5054)
		negotiate(client, head);
	else if (get(head, 4) != 0x25609513)
		hang_up(client);
	else if (receive(client, head + 16, 12))
		carry_out(client, head);
}

/* Ends the waiting of clients whose reply is missing. */
static void lose_patience(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *client = &server.clients[i];

		if (client->fd >= 0 && client->holds) {
			client->holds = false;
			reply(client, client->held, HONEST);
		} else {
			hang_up(client);
		}
	}
}

static void *run_server(void *data)
{
	struct pollfd fds[CLIENTS + 2];
	int n;

	for (;;) {
		for (unsigned i = 0; i < CLIENTS; i++)
			fds[i] = (struct pollfd){ .fd = server.clients[i].fd,
						  .events = POLLIN };
		fds[CLIENTS] = (struct pollfd){ .fd = server.listener,
						.events = POLLIN };
		fds[CLIENTS + 1] =
			(struct pollfd){ .fd = server.stop, .events = POLLIN };
		n = poll(fds, CLIENTS + 2, PATIENCE_MS);
		if (n > 0 && fds[CLIENTS + 1].revents)
			return data;
		if (n == 0)
			lose_patience();
		for (unsigned i = 0; n > 0 && i < CLIENTS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents)
				serve(&server.clients[i]);
		}
		if (n > 0 && fds[CLIENTS].revents)
			greet(accept(server.listener, NULL, NULL));
	}
}

static void listen_once(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *folder = getenv("TMPDIR");

	if (server.listener >= 0)
		return;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/fuzz-nbd.%d",
		 folder ? folder : "/tmp", getpid());
	snprintf(server.uri, sizeof(server.uri), "nbd+unix:///?socket=%s",
		 addr.sun_path);
	unlink(addr.sun_path);
	server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(bind(server.listener, (struct sockaddr *)&addr, sizeof(addr)) ==
	     0);
	must(listen(server.listener, 64) == 0);
	memset(server.image + DATA_OFF, 0x33, DATA_END - DATA_OFF);
	for (unsigned i = 0; i < CLIENTS; i++)
		server.clients[i].fd = -1;
}

/* --- The client --- */

static void check_zeros(uint64_t off, uint64_t end)
{
	bool grows = true;

	pthread_mutex_lock(&server.lock);
	while (off < end && grows && !server.anything) {
		grows = false;
		for (unsigned i = 0; i < server.claimed; i++) {
			const struct claim *claim = &server.claims[i];

			if (claim->off <= off && off < claim->end) {
				off = claim->end;
				grows = true;
			}
		}
	}
	must(server.anything || off >= end);
	pthread_mutex_unlock(&server.lock);
}

/* Asks for the zeros of the whole device, as a scan does. */
static void ask_all(struct bsp_device *dev, uint64_t generation, uint64_t size)
{
	uint64_t at = 0;
	unsigned questions = 0;

	while (at < size && questions++ < 64) {
		struct bsp_known_answer answer =
			dev->ops->known(dev, generation, true, at, size);

		must(answer.end <= size);
		if (answer.end == at)
			break;
		must(answer.end > at);
		if (answer.zeros)
			check_zeros(at, answer.end);
		at = answer.end;
	}
}

static unsigned char buffer[BSP_BUFFER_ALIGN * 5];

static void read_some(struct bsp_device *dev, uint64_t off, size_t len,
		      uint64_t size)
{
	ssize_t n = dev->ops->read(dev, off, buffer, len);

	must(n <= (ssize_t)len && n >= -4095);
	must(n <= 0 || (off < size && (uint64_t)n <= size - off));
}

static void write_all(struct bsp_device *dev, uint64_t size)
{
	uint64_t end = size < SIZE ? size : SIZE;

	for (uint64_t off = 3; off < end; off += SIZE / 4) {
		ssize_t n = dev->ops->write(dev, off, buffer, 8192);

		must(n <= 8192 && n >= -4095);
	}
	for (unsigned mode = BSP_ZERO_UNMAP; mode <= BSP_ZERO_WRITE; mode++) {
		int r = bsp_device_zero(dev, mode, 0, end / 4096 * 4096);

		must(r <= 0 && r >= -4095);
		(void)dev->ops->flush(dev);
		bsp_device_note_failure(dev);
	}
	if (dev->ops->discard)
		(void)dev->ops->discard(dev, 0, end / 4096 * 4096);
}

/* Reads, writes and asks, as after a look at the device. */
static void use(struct bsp_device *dev, bool writable)
{
	struct bsp_content content;
	struct bsp_medium medium;

	for (uint64_t round = 1; round <= 2; round++) {
		uint64_t size;

		dev->ops->medium(dev, BSP_DEPTH_ALL, &medium);
		dev->ops->content(dev, &content);
		if (!dev->ops->is_connected(dev))
			dev->ops->reconnect(dev, medium.connection);
		if (dev->ops->size(dev, &size) < 0)
			size = dev->info.size;
		must(size > 0 && size <= INT64_MAX);
		ask_all(dev, round, size);
		read_some(dev, 0, sizeof(buffer), size);
		read_some(dev, DATA_OFF - 5, 4099, size);
		read_some(dev, size - 1, 512, size);
		read_some(dev, size, 512, size);
		if (writable)
			write_all(dev, size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint64_t one = 1;
	struct bsp_device *dev;
	GError *error = NULL;
	bool writable;
	pthread_t thread;

	if (len == 0)
		return 0;
	listen_once();
	server.data = data;
	server.len = len;
	server.at = 1;
	server.claimed = 0;
	server.anything = false;
	server.multi_conn = data[0] & 2;
	server.stop = eventfd(0, EFD_CLOEXEC);
	writable = data[0] & 1;
	must(pthread_create(&thread, NULL, run_server, NULL) == 0);

	dev = bsp_device_nbd_new(server.uri, writable, NULL, &error);
	must(!dev == !!error);
	if (dev)
		use(dev, writable);
	bsp_device_close(dev);
	g_clear_error(&error);

	must(write(server.stop, &one, sizeof(one)) == sizeof(one));
	pthread_join(thread, NULL);
	close(server.stop);
	for (unsigned i = 0; i < CLIENTS; i++)
		hang_up(&server.clients[i]);
	return 0;
}
