/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD server in memory, for unit tests: a thread for each connection, on a
 * socket in a directory of its own, or on TCP. It speaks the fixed newstyle
 * handshake, structured replies and base:allocation. A script of the test
 * decides about each command: it may be served, held, answered by an error, or
 * end the connection.
 *
 * A command that is held has not been carried out. It is when it is released,
 * so that a test decides in which order writes take effect.
 *
 * A failure of the server itself ends the program: cmocka's assertions work on
 * the main thread alone.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of the protocol (doc/proto.md of NBD). */
enum nbd_type {
	NBD_READ = 0,
	NBD_WRITE = 1,
	NBD_DISC = 2,
	NBD_FLUSH = 3,
	NBD_TRIM = 4,
	NBD_ZERO = 6,
	NBD_STATUS = 7,
	NBD_TYPES,
};

enum {
	NBD_FUA = 1 << 0,
	NBD_NO_HOLE = 1 << 1,
	NBD_DF = 1 << 2,
	NBD_FAST_ZERO = 1 << 4,

	/* Transmission flags */
	NBD_READ_ONLY = 1 << 1,
	NBD_CAN_FLUSH = 1 << 2,
	NBD_CAN_FUA = 1 << 3,
	NBD_CAN_TRIM = 1 << 5,
	NBD_CAN_ZERO = 1 << 6,
	NBD_CAN_DF = 1 << 7,
	NBD_MULTI_CONN = 1 << 8,
	NBD_CAN_FAST_ZERO = 1 << 11,
	NBD_ALL = NBD_CAN_FLUSH | NBD_CAN_FUA | NBD_CAN_TRIM | NBD_CAN_ZERO |
		  NBD_MULTI_CONN | NBD_CAN_FAST_ZERO,

	/* Errors */
	NBD_EIO = 5,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
};

struct nbd_export {
	uint64_t size;
	unsigned flags;
	uint32_t block_min, block_max; /* 0: not announced */
	bool simple;		       /* without structured replies */
	bool tcp;		       /* on a port of 127.0.0.1; for good */
	/* Another metadata context, of which the answers are then. */
	const char *context;
};

/* A command, as it came. */
struct nbd_command {
	enum nbd_type type;
	unsigned flags;
	uint64_t off, len;
	unsigned connection; /* from 1 on */
	bool structured;     /* the connection has structured replies */
};

enum nbd_action {
	NBD_SERVE,
	NBD_HOLD,
	NBD_DROP,	  /* closes the connection at once */
	NBD_SERVE_DROP,	  /* carries the command out, and closes */
	NBD_REPLY_DROP,	  /* replies, and closes */
	NBD_WITHOUT_DATA, /* of a read: says that it is done */
	NBD_HALF,	  /* of a read or zero: of the first half only */
	NBD_LATER_HALF,	  /* of zero: of the second half only */
	NBD_ANSWER_FAIL,  /* of a question: answers, and fails with EIO */
	NBD_FAIL,	  /* fails with the error NBD_FAIL + error */
};

/* Returns an action. Called by the connections' threads, one at a time. */
typedef int (*nbd_script_fn)(void *data, const struct nbd_command *command);

/* Fills entries, pairs of a length and flags, with the answer to a question
 * about extents. Returns the number of pairs, at most max. Called as a
 * script. */
typedef size_t (*nbd_extents_fn)(void *data, const struct nbd_command *command,
				 uint32_t *entries, size_t max);

struct nbd_server;

/* Starts a server. Its bytes are all 0. */
struct nbd_server *nbd_server_new(const struct nbd_export *export);
void nbd_server_free(struct nbd_server *server);

const char *nbd_server_uri(const struct nbd_server *server);

/* NULL: everything is served; without extents, all is data. Only while no
 * command is under way. */
void nbd_server_script(struct nbd_server *server, nbd_script_fn script,
		       void *data);
void nbd_server_extents(struct nbd_server *server, nbd_extents_fn extents,
			void *data);

/* Closes all connections. Commands that are held are never carried out. */
void nbd_server_drop(struct nbd_server *server);

/* Stops and starts listening, with another export unless it is NULL. The bytes
 * stay, as far as they are in both. */
void nbd_server_stop(struct nbd_server *server);
void nbd_server_start(struct nbd_server *server,
		      const struct nbd_export *export);

/* Gives connections that are made from now on another export. */
void nbd_server_set_export(struct nbd_server *server,
			   const struct nbd_export *export);

/* Has the server close connections beyond so many, ever made, at once. */
void nbd_server_limit(struct nbd_server *server, unsigned n);

/* Waits until so many commands are held, or so many of a type came in all.
 * Returns false after 10 seconds. */
bool nbd_server_wait_held(struct nbd_server *server, unsigned n);
bool nbd_server_wait_count(struct nbd_server *server, enum nbd_type type,
			   unsigned n);

/* Carries out and answers all commands that are held, in their order or from
 * the last to the first. */
void nbd_server_release(struct nbd_server *server, bool reversed);

/* Answers all commands that are held with an error. */
void nbd_server_refuse(struct nbd_server *server, unsigned error);

/* The commands of a type since the start, or since the log was cleared. */
unsigned nbd_server_count(struct nbd_server *server, enum nbd_type type);
/* The nth of them, from 0 on. There is one. */
struct nbd_command nbd_server_command(struct nbd_server *server,
				      enum nbd_type type, unsigned nth);
void nbd_server_clear(struct nbd_server *server);

/* The connections that were ever made. */
unsigned nbd_server_connections(struct nbd_server *server);

/* Gets and sets bytes of the export. */
void nbd_server_get(struct nbd_server *server, uint64_t off, void *buf,
		    size_t len);
void nbd_server_set(struct nbd_server *server, uint64_t off, const void *buf,
		    size_t len);

#endif
