/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds any words to the parser of blksparsefs's command line, and checks its
 * promises (fuse/options.h): it ends with a message and status 2, or gives
 * devices with names that files can have (or --all), a mount point, and
 * one argument for libfuse. No message and no argument has the password of the
 * URI that comes as the first device.
 *
 * The input is the words, each ended by a newline.
 */
#include <fuse_log.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/error.h"
#include "blksparse-mount.h"
#include "device/nbd-uri.h"
#include "log.h"
#include "options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { WORDS_MAX = 64 };

#define SECRET "h8z3kq"

static unsigned errors; /* messages */
static bool has_secret; /* the input itself */

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* --- In place of fuse/log.c --- */

void log_line(int priority, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	errors += priority == LOG_ERR;
	must(text[0] != '\0' && (has_secret || !strstr(text, SECRET)));
}

/* A fuse_log_func_t: libfuse reports an -o without a word after it. */
static void count_error(enum fuse_log_level level, const char *format,
			va_list args)
{
	errors++;
}

void log_set_level(int priority)
{
	must(priority >= LOG_EMERG && priority <= LOG_DEBUG);
}

void log_keep_debug(void)
{
}

/* --- In place of the library: the first letter will do --- */

bool bsp_tail_from_name(const char *name, enum bsp_tail *ret_tail,
			GError **error)
{
	*ret_tail = BSP_TAIL_ZERO;
	return name[0] == 'z' || bsp_error_set(error, BSP_ERROR_USAGE, "not z");
}

bool bsp_known_from_name(const char *name, enum bsp_known_trust *ret_known,
			 GError **error)
{
	*ret_known = BSP_KNOWN_ALL;
	return name[0] == 'a' || bsp_error_set(error, BSP_ERROR_USAGE, "not a");
}

/* --- The promises --- */

static void check_source(const struct source *source)
{
	must(source->path && source->path[0]);
	must(source->name && source->name[0]);
	must(!strchr(source->name, '/') && strlen(source->name) <= 255);
	must(strcmp(source->name, ".") != 0 && strcmp(source->name, "..") != 0);
}

static void check_options(const struct options *options)
{
	must(options->sources && (options->all || options->sources->len > 0));
	must(!options->all || !options->writable);
	for (guint i = 0; i < options->sources->len; i++) {
		const struct source *a = options->sources->pdata[i];

		check_source(a);
		for (guint j = 0; j < i; j++) {
			const struct source *b = options->sources->pdata[j];

			must(strcmp(a->name, b->name) != 0);
		}
	}
	must(options->mountpoint && !bsp_is_nbd_uri(options->mountpoint));
	must(options->max_read <= INT32_MAX);
	must(options->fuse.argc == 3 && options->fuse.argv[2]);
	must(has_secret || !strstr(options->fuse.argv[2], SECRET));
}

static void parse(int argc, char **argv)
{
	struct options options;
	int status = -1;
	bool go_on;

	errors = 0;
	fuse_set_log_func(count_error);
	go_on = options_parse(argc, argv, &options, &status);
	if (go_on)
		check_options(&options);
	must(status == EXIT_USAGE || status == EXIT_SUCCESS);
	must(!go_on || status == EXIT_SUCCESS);
	must((status == EXIT_USAGE) == (errors > 0));
	for (int i = 1; i < argc; i++)
		must(has_secret || !strstr(argv[i], SECRET));
	options_done(&options);
}

/* Whether the words have the password themselves, which a message may show
 * then. libfuse takes \x in an option for x, and \ooo for the byte of that
 * octal number (process_real_option_group() in lib/fuse_opt.c). */
static bool says_secret(const char *words)
{
	g_autofree char *plain = g_strdup(words);
	const char *from = words;
	char *to = plain;

	while (*from) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' &&
		    from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
		    from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 |
				       (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			from += from[0] == '\\' && from[1];
			*to++ = *from++;
		}
	}
	return strstr(words, SECRET) ||
	       memmem(plain, (size_t)(to - plain), SECRET, strlen(SECRET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char program[] = "blksparsefs";
	char *words = strndup((const char *)data, len), *rest = words;
	char uri[] = "nbd://user:" SECRET "@host/name";
	char *argv[WORDS_MAX + 1] = { program, uri };
	int argc = 2;

	/* The help goes there. */
	if (!freopen("/dev/null", "w", stdout))
		abort();
	has_secret = says_secret(words);
	while (rest && *rest && argc < WORDS_MAX)
		argv[argc++] = strsep(&rest, "\n");
	parse(argc, argv);
	free(words);
	return 0;
}
