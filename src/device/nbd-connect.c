/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/nbd-connect.h"

#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "blksparse-thread.h"
#include "device/nbd-uri.h"

/* The call of a thread, which frees it if no caller waits for it at the end. */
struct attempt {
	/* Fixed. */
	char *uri, *changes;
	bool simple;

	/* The thread's until it has ended. */
	struct nbd_handle *nbd;
	GError *error; /* NULL: nbd connects */

	pthread_cond_t ends;
	/* Protected by lock: */
	bool ended;
	bool left;	      /* no caller waits for it */
	struct attempt *next; /* of those that were left */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf lock */
static struct attempt *all_left;			 /* protected by lock */

/* --- Errors --- */

bool bsp_nbd_refuse(const char *uri, const char *reason, GError **error)
{
	g_autofree char *shown = bsp_nbd_uri_redact(uri);
	g_autofree char *why = bsp_nbd_uri_redact_text(uri, reason);

	return bsp_error_set(error, BSP_ERROR_FAILED, "connect to %s: %s",
			     shown, why);
}

/* libnbd begins its messages with the name of the function. */
bool bsp_nbd_refuse_libnbd(const char *uri, GError **error)
{
	const char *message = nbd_get_error();
	const char *colon = message ? strstr(message, ": ") : NULL;

	if (colon && g_str_has_prefix(message, "nbd_"))
		message = colon + 2;
	return bsp_nbd_refuse(uri, message ? message : "libnbd failed", error);
}

/* --- Attempts --- */

/* Asks for the replies and contexts that the connection is to have. */
static bool request_replies(struct nbd_handle *nbd,
			    const struct bsp_nbd_target *target)
{
	if (target->simple)
		return nbd_set_request_structured_replies(nbd, false) == 0;
	return nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
	       (!target->changes ||
		nbd_add_meta_context(nbd, target->changes) == 0);
}

static struct nbd_handle *new_handle(const struct bsp_nbd_target *target,
				     GError **error)
{
	struct nbd_handle *nbd = nbd_create();

	/* The names of files in a URI, as of keys, come from the user. Reads
	 * that fail leave the buffer undefined: it need not be zeroed before.
	 */
	if (nbd && nbd_set_uri_allow_local_file(nbd, true) == 0 &&
	    nbd_set_pread_initialize(nbd, false) == 0 &&
	    request_replies(nbd, target))
		return nbd;
	bsp_nbd_refuse_libnbd(target->uri, error);
	nbd_close(nbd);
	return NULL;
}

static void free_attempt(struct attempt *attempt)
{
	nbd_close(attempt->nbd);
	g_clear_error(&attempt->error);
	pthread_cond_destroy(&attempt->ends);
	g_free(attempt->changes);
	g_free(attempt->uri);
	g_free(attempt);
}

/* lock held. */
static void unlink_left(struct attempt *attempt)
{
	struct attempt **at = &all_left;

	while (*at != attempt)
		at = &(*at)->next;
	*at = attempt->next;
}

static void *run_attempt(void *data)
{
	struct attempt *attempt = data;
	bool left;

	if (nbd_aio_connect_uri(attempt->nbd, attempt->uri) < 0)
		bsp_nbd_refuse_libnbd(attempt->uri, &attempt->error);
	pthread_mutex_lock(&lock);
	attempt->ended = true;
	left = attempt->left;
	if (left)
		unlink_left(attempt);
	pthread_cond_signal(&attempt->ends);
	pthread_mutex_unlock(&lock);
	if (left)
		free_attempt(attempt);
	return NULL;
}

static struct attempt *start_attempt(const struct bsp_nbd_target *target,
				     GError **error)
{
	struct nbd_handle *nbd = new_handle(target, error);
	struct attempt *attempt;
	pthread_t thread;
	int r;

	if (!nbd)
		return NULL;
	attempt = g_new0(struct attempt, 1);
	attempt->uri = g_strdup(target->uri);
	attempt->changes = g_strdup(target->changes);
	attempt->simple = target->simple;
	attempt->nbd = nbd;
	bsp_cond_init(&attempt->ends);
	r = bsp_thread_start(&thread, run_attempt, attempt);
	if (r) {
		bsp_nbd_refuse(target->uri, g_strerror(-r), error);
		free_attempt(attempt);
		return NULL;
	}
	(void)pthread_detach(thread);
	return attempt;
}

static bool is_for(const struct attempt *attempt,
		   const struct bsp_nbd_target *target)
{
	return attempt->simple == target->simple &&
	       strcmp(attempt->uri, target->uri) == 0 &&
	       g_strcmp0(attempt->changes, target->changes) == 0;
}

/* Takes over an attempt that another caller left. Returns NULL if there is
 * none. */
static struct attempt *take_left(const struct bsp_nbd_target *target)
{
	struct attempt *attempt;

	pthread_mutex_lock(&lock);
	attempt = all_left;
	while (attempt && !is_for(attempt, target))
		attempt = attempt->next;
	if (attempt) {
		unlink_left(attempt);
		attempt->left = false;
	}
	pthread_mutex_unlock(&lock);
	return attempt;
}

static bool gives_up(const struct attempt *attempt, int64_t limit,
		     GError **error)
{
	if (bsp_interrupted())
		return !bsp_error_set(error, BSP_ERROR_INTERRUPTED,
				      "interrupted");
	if (g_get_monotonic_time() > limit)
		return !bsp_nbd_refuse(
			attempt->uri,
			"its host name is not resolved in time (do the name servers answer?)",
			error);
	return false;
}

/* Waits for the end of an attempt. Returns false and an error if the caller
 * left it before. */
static bool wait_for(struct attempt *attempt, int64_t limit, GError **error)
{
	bool left = false, ended;

	pthread_mutex_lock(&lock);
	while (!attempt->ended && !left) {
		struct timespec until = bsp_cond_limit(BSP_INTERRUPT_MS);

		if (pthread_cond_timedwait(&attempt->ends, &lock, &until) == 0)
			continue;
		pthread_mutex_unlock(&lock);
		left = gives_up(attempt, limit, error);
		pthread_mutex_lock(&lock);
	}
	ended = attempt->ended;
	if (!ended) {
		attempt->left = true;
		attempt->next = all_left;
		all_left = attempt;
	}
	pthread_mutex_unlock(&lock);
	if (ended && left)
		free_attempt(attempt);
	return !left;
}

/* Takes the handle of an attempt that has ended. Returns NULL and its error if
 * it failed. */
static struct nbd_handle *take_handle(struct attempt *attempt, GError **error)
{
	struct nbd_handle *nbd = NULL;

	if (attempt->error)
		g_propagate_error(error, g_steal_pointer(&attempt->error));
	else
		nbd = g_steal_pointer(&attempt->nbd);
	free_attempt(attempt);
	return nbd;
}

static struct nbd_handle *connect_here(const struct bsp_nbd_target *target,
				       GError **error)
{
	struct nbd_handle *nbd = new_handle(target, error);

	if (!nbd || nbd_aio_connect_uri(nbd, target->uri) == 0)
		return nbd;
	bsp_nbd_refuse_libnbd(target->uri, error);
	nbd_close(nbd);
	return NULL;
}

struct nbd_handle *bsp_nbd_connect(const struct bsp_nbd_target *target,
				   int64_t limit, GError **error)
{
	struct attempt *attempt;

	if (!bsp_nbd_uri_has_host(target->uri))
		return connect_here(target, error);
	attempt = take_left(target);
	if (!attempt)
		attempt = start_attempt(target, error);
	if (!attempt || !wait_for(attempt, limit, error))
		return NULL;
	return take_handle(attempt, error);
}
