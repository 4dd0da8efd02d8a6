/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/nbd-uri.h"

#include <glib.h>
#include <limits.h>
#include <string.h>

#define HIDDEN "***"

static const char *const schemes[] = {
	"nbd://",	"nbds://",	"nbd+unix://",
	"nbds+unix://", "nbd+vsock://", "nbds+vsock://",
};

/* Returns the part of the URI after "://"; NULL if the scheme is another. */
static const char *after_scheme(const char *text)
{
	for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
		size_t len = strlen(schemes[i]);

		if (g_ascii_strncasecmp(text, schemes[i], len) == 0)
			return text + len;
	}
	return NULL;
}

bool bsp_is_nbd_uri(const char *text)
{
	return after_scheme(text);
}

bool bsp_nbd_uri_has_host(const char *uri)
{
	return g_ascii_strncasecmp(uri, "nbd://", 6) == 0 ||
	       g_ascii_strncasecmp(uri, "nbds://", 7) == 0;
}

/* Returns the part after the first "://" of an NBD URI in text; NULL if there
 * is none. */
static const char *find_authority(const char *text)
{
	const char *found = NULL;

	while (*text && !found)
		found = after_scheme(text++);
	return found;
}

static const char *find_last(const char *text, size_t len, char c)
{
	while (len && text[len - 1] != c)
		len--;
	return len ? text + len - 1 : NULL;
}

/* Whether a host, [text, end), ends with ":port", or has none. */
static bool has_good_port(const char *text, const char *end)
{
	const char *colon = find_last(text, (size_t)(end - text), ':');

	if (!colon || memchr(colon, ']', (size_t)(end - colon)))
		return true;
	for (const char *at = colon + 1; at < end; at++) {
		if (!g_ascii_isdigit(*at))
			return false;
	}
	return true;
}

/*
 * Returns the length of the password in "user:password@host"; 0 if there is
 * none. The last '@' before the path ends it. A '/' in a password should be
 * written %2F; if it is not, the part before it looks like a host with a wrong
 * port, and the last '@' of the URI ends the password.
 */
static size_t password_of(const char *user, const char **ret_password)
{
	const char *colon, *at, *next = strstr(user, "://");
	size_t len = strcspn(user, "/?#");

	at = find_last(user, len, '@');
	if (!at && !has_good_port(user, user + len))
		at = find_last(
			user, next ? (size_t)(next - user) : strlen(user), '@');
	colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
	if (!colon)
		return 0;
	*ret_password = colon + 1;
	return (size_t)(at - colon) - 1;
}

/* Finds the first password of an NBD URI in text. Returns its length; 0 if
 * there is none. */
static size_t find_password(const char *text, const char **ret_password)
{
	size_t len = 0;

	while (!len && (text = find_authority(text)))
		len = password_of(text, ret_password);
	return len;
}

char *bsp_nbd_uri_redact(const char *text)
{
	GString *shown = g_string_new(NULL);
	const char *password;
	size_t len;

	while ((len = find_password(text, &password))) {
		g_string_append_len(shown, text, password - text);
		g_string_append(shown, HIDDEN);
		text = password + len;
	}
	g_string_append(shown, text);
	return g_string_free(shown, FALSE);
}

void bsp_nbd_uri_hide(char *text)
{
	const char *password;
	size_t len;

	while ((len = find_password(text, &password))) {
		text += password - text;
		memset(text, '*', len);
		text += len;
	}
}

static char *hide_each(const char *text, const char *secret)
{
	g_auto(GStrv) parts = g_strsplit(text, secret, -1);

	return g_strjoinv(HIDDEN, parts);
}

char *bsp_nbd_uri_redact_text(const char *uri, const char *text)
{
	const char *password;
	size_t len = find_password(uri, &password);
	g_autofree char *secret = NULL, *decoded = NULL, *hidden = NULL;

	if (!len)
		return g_strdup(text);
	secret = g_strndup(password, len);
	hidden = hide_each(text, secret);
	/* libnbd takes the password for a part of the user's name, and decodes
	 * it. */
	decoded = g_uri_unescape_string(secret, NULL);
	return decoded ? hide_each(hidden, decoded) : g_steal_pointer(&hidden);
}

/* Returns the last part of a path, decoded, if it can be the name of a file. */
static char *file_name(const char *path)
{
	g_autofree char *decoded =
		path ? g_uri_unescape_string(path, "/") : NULL;
	const char *slash = decoded ? strrchr(decoded, '/') : NULL;
	const char *name = slash ? slash + 1 : decoded;

	if (!name || !name[0] || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0 || strlen(name) > NAME_MAX)
		return NULL;
	return g_strdup(name);
}

static char *socket_name(const char *query)
{
	g_autoptr(GHashTable) params =
		query ? g_uri_parse_params(query, -1, "&;", G_URI_PARAMS_NONE,
					   NULL)
		      : NULL;

	return params ? file_name(g_hash_table_lookup(params, "socket")) : NULL;
}

char *bsp_nbd_uri_name(const char *uri)
{
	g_autofree char *host = NULL, *path = NULL, *query = NULL;
	char *name = NULL;

	if (g_uri_split(uri, G_URI_FLAGS_ENCODED | G_URI_FLAGS_HAS_PASSWORD,
			NULL, NULL, &host, NULL, &path, &query, NULL, NULL)) {
		name = file_name(path);
		if (!name)
			name = socket_name(query);
		if (!name)
			name = file_name(host);
	}
	return name ? name : g_strdup("nbd");
}
