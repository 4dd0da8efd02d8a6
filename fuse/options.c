/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words after -o come from users, and from fstab through mount(8) and
 * mount.fuse3(8). They go on to libfuse, fusermount3 and the kernel, none of
 * which names the word that it refuses. So the table lists every word that may
 * come and how it is treated; any other word is an error that names it.
 *
 * A new option is a line in the table, a case in handle_option(), a line in the
 * help text, and a paragraph in blksparsefs(8).
 */
#include "options.h"

#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "log.h"

enum {
	NAME_BYTES_MAX = 255,
	SOURCE_BYTES_MAX = 960, /* for a list of devices */
};

enum key {
	KEY_HELP,
	KEY_VERSION,
	KEY_FOREGROUND,
	KEY_DEBUG,
	KEY_ALL,
	KEY_MATCH,
	KEY_NAME,
	KEY_RO,
	KEY_RW,
	KEY_REMOUNT,
	KEY_GRANULE,
	KEY_LOOKAHEAD,
	KEY_MINHOLE,
	KEY_SCAN,
	KEY_URING,
	KEY_SAME,
	KEY_ZERO,
	KEY_TAIL,
	KEY_KNOWN,
	KEY_UNSHARED,
	KEY_LOG,
	KEY_MAX_READ,
	KEY_ALLOW_OTHER,
	KEY_FSNAME,
	KEY_SUBTYPE,
	KEY_PASS,   /* pass it to libfuse */
	KEY_IGNORE, /* has no meaning here */
};

/* Like FUSE_OPT_KEY, which clang warns about. Versions of clang-format lay it
 * out differently. */
/* clang-format off */
#define WORD(template, key) { template, UINT_MAX, key }
/* clang-format on */

static const struct fuse_opt table[] = {
	WORD("-h", KEY_HELP),
	WORD("--help", KEY_HELP),
	WORD("-V", KEY_VERSION),
	WORD("--version", KEY_VERSION),
	WORD("-f", KEY_FOREGROUND),
	WORD("--foreground", KEY_FOREGROUND),
	WORD("-r", KEY_RO),
	WORD("--read-only", KEY_RO),
	WORD("-d", KEY_DEBUG),
	WORD("debug", KEY_DEBUG),
	WORD("--all", KEY_ALL),
	WORD("all", KEY_ALL),
	WORD("--match=", KEY_MATCH),
	WORD("match=", KEY_MATCH),
	WORD("name=", KEY_NAME),
	WORD("ro", KEY_RO),
	WORD("rw", KEY_RW),
	WORD("remount", KEY_REMOUNT),
	WORD("granule=", KEY_GRANULE),
	WORD("lookahead=", KEY_LOOKAHEAD),
	WORD("minhole=", KEY_MINHOLE),
	WORD("scan=", KEY_SCAN),
	WORD("uring=", KEY_URING),
	WORD("same=", KEY_SAME),
	WORD("zero=", KEY_ZERO),
	WORD("tail=", KEY_TAIL),
	WORD("known=", KEY_KNOWN),
	WORD("unshared", KEY_UNSHARED),
	WORD("log=", KEY_LOG),
	WORD("allow_other", KEY_ALLOW_OTHER),

	/* Options of libfuse and the kernel. */
	WORD("fsname=", KEY_FSNAME),
	WORD("subtype=", KEY_SUBTYPE),
	WORD("max_read=", KEY_MAX_READ),
	WORD("allow_root", KEY_PASS),
	WORD("auto_unmount", KEY_PASS),
	WORD("default_permissions", KEY_PASS),
	WORD("context=", KEY_PASS),
	WORD("fscontext=", KEY_PASS),
	WORD("defcontext=", KEY_PASS),
	WORD("rootcontext=", KEY_PASS),
	WORD("suid", KEY_PASS),
	WORD("nosuid", KEY_PASS),
	WORD("dev", KEY_PASS),
	WORD("nodev", KEY_PASS),
	WORD("exec", KEY_PASS),
	WORD("noexec", KEY_PASS),
	WORD("sync", KEY_PASS),
	WORD("async", KEY_PASS),
	WORD("dirsync", KEY_PASS),
	WORD("atime", KEY_PASS),
	WORD("noatime", KEY_PASS),

	/* Options of mount(8) and systemd; x-* and X-* are ignored, too. */
	WORD("defaults", KEY_IGNORE),
	WORD("auto", KEY_IGNORE),
	WORD("noauto", KEY_IGNORE),
	WORD("user", KEY_IGNORE),
	WORD("user=", KEY_IGNORE),
	WORD("nouser", KEY_IGNORE),
	WORD("users", KEY_IGNORE),
	WORD("nousers", KEY_IGNORE),
	WORD("owner", KEY_IGNORE),
	WORD("noowner", KEY_IGNORE),
	WORD("group", KEY_IGNORE),
	WORD("nogroup", KEY_IGNORE),
	WORD("nofail", KEY_IGNORE),
	WORD("_netdev", KEY_IGNORE),
	WORD("comment=", KEY_IGNORE),
	WORD("uhelper=", KEY_IGNORE),
	WORD("helper=", KEY_IGNORE),

	/* Without effect, because the files have no links and the times of the
	 * device; libfuse 3.14 does not know these options. */
	WORD("diratime", KEY_IGNORE),
	WORD("nodiratime", KEY_IGNORE),
	WORD("relatime", KEY_IGNORE),
	WORD("norelatime", KEY_IGNORE),
	WORD("strictatime", KEY_IGNORE),
	WORD("nostrictatime", KEY_IGNORE),
	WORD("lazytime", KEY_IGNORE),
	WORD("nolazytime", KEY_IGNORE),
	WORD("iversion", KEY_IGNORE),
	WORD("noiversion", KEY_IGNORE),
	WORD("mand", KEY_IGNORE),
	WORD("nomand", KEY_IGNORE),
	WORD("silent", KEY_IGNORE),
	WORD("loud", KEY_IGNORE),
	WORD("symfollow", KEY_IGNORE),
	WORD("nosymfollow", KEY_IGNORE),
	FUSE_OPT_END,
};

static const char help[] =
	"Usage: blksparsefs [options] [NAME=]DEVICE... MOUNTPOINT\n"
	"       blksparsefs [options] --all MOUNTPOINT\n"
	"\n"
	"Mounts each DEVICE, a block device, a disk image or the URI of an NBD export, as\n"
	"a sparse file MOUNTPOINT/NAME that has holes where the device holds zeros. The\n"
	"default NAME is the last part of the device's path. If MOUNTPOINT is a regular\n"
	"file, that file shows the one DEVICE. The files are read-only unless -o rw is\n"
	"given.\n"
	"To unmount: umount MOUNTPOINT, or as a user fusermount3 -u MOUNTPOINT.\n"
	"\n"
	"  --all                  show every block device that you may read, by its\n"
	"                         name in /dev, with folders of links such as by-id; a\n"
	"                         device is opened when a program opens its file\n"
	"  --match=GLOB           with --all, only devices with such a name, as sd*; more\n"
	"                         than one may be given\n"
	"  -f, --foreground       stay in the foreground; messages go to stderr\n"
	"  -r, --read-only        the same as -o ro\n"
	"  -d                     the same, and print each request (for developers)\n"
	"  -o OPTION[,OPTION...]  mount options, see below\n"
	"  -h, --help             print this and exit\n"
	"  -V, --version          print the version and exit\n"
	"\n"
	"Mount and permissions:\n"
	"  -o ro                  read-only (default)\n"
	"  -o rw                  writable; the program opens each device exclusively\n"
	"  -o allow_other         let other users use the files, as far as the owner and\n"
	"                         mode of each device allow\n"
	"  -o all                 the same as --all, for fstab; give ro as well\n"
	"  -o match=GLOB          the same as --match=GLOB\n"
	"  -o name=NAME           the name of the file, if there is one DEVICE; for\n"
	"                         fstab, whose first field should be the device alone\n"
	"  -o unshared            no other program writes to the NBD exports; -o rw of an\n"
	"                         export needs it\n"
	"\n"
	"Reading:\n"
	"  -o granule=SIZE        the unit of data and holes: a power of two from 4K to\n"
	"                         1M, and at least a logical block of the device\n"
	"                         (default: 4K, or that block)\n"
	"  -o lookahead=SIZE      how far a search for a hole reads before it answers; at\n"
	"                         least a granule (default: 32M)\n"
	"  -o minhole=SIZE        show shorter holes as data, at most 16M (default: show\n"
	"                         all holes)\n"
	"  -o scan=WHEN           lazy: look for holes when a caller searches for them,\n"
	"                         and some way ahead; background: also in the rest of\n"
	"                         the device while the file is open (default: lazy)\n"
	"  -o known=LAYERS        ask the layers below a device for holes, and do not\n"
	"                         read these: auto (those that are trusted), all or off\n"
	"                         (default: auto)\n"
	"  -o uring=WHEN          auto: take requests by io_uring where the kernel offers\n"
	"                         that; off: through /dev/fuse (default: auto)\n"
	"\n"
	"Writing:\n"
	"  -o same=HOW            how to treat a write of bytes that the device holds\n"
	"                         already: write (make it) or skip (read the device\n"
	"                         first, and leave the write out) (default: write)\n"
	"  -o zero=HOW            how to zero the device after a write of zeros: unmap\n"
	"                         (give the space back if the device then reads as\n"
	"                         zeros), keep (keep the space) or write (write zeros)\n"
	"                         (default: unmap)\n"
	"  -o tail=WHAT           what to do at unmounting with the device past the end\n"
	"                         of a file that was made shorter: keep, zero or discard\n"
	"                         (default: keep)\n"
	"\n"
	"Logging:\n"
	"  -o log=LEVEL           the least important messages to log: error, warning,\n"
	"                         info, or debug with a line for each request\n"
	"                         (default: warning)\n"
	"\n"
	"SIZE is in bytes, or has a unit: K, M, G, T, P (powers of 1024). Mount options\n"
	"of libfuse, such as allow_root, auto_unmount and fsname=, are passed on.\n"
	"See blksparsefs(8).\n";

/* State of the parser while it reads the command line. */
struct parser {
	struct options *options;
	GPtrArray *operands; /* char * */
	char *name;	     /* -o name; or NULL */
	char *fuse_opts;     /* options for libfuse, escaped; from malloc() */
	bool allow_other, fsname, subtype;
	const char *for_writing; /* an option without a meaning if read-only */
	enum { GO_ON, ENDED, FAILED_TO_PRINT } state;
};

/* --- Options ------------------------------------------------------------- */

static int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Any word may have an URI in it, whose password messages must not show. */
static int usage_error(const char *format, ...)
{
	g_autofree char *text = NULL, *shown = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	shown = bsp_nbd_uri_redact(text);
	log_line(LOG_ERR, "%s", shown);
	return -1;
}

static int pass_to_libfuse(struct parser *parser, const char *word)
{
	return fuse_opt_add_opt_escaped(&parser->fuse_opts, word);
}

/* Parses the SIZE of word, "option=SIZE". */
static int parse_size(const char *word, uint64_t *ret_size)
{
	g_autoptr(GError) error = NULL;

	if (!bsp_parse_size(strchr(word, '=') + 1, ret_size, &error))
		return usage_error("-o %s: %s", word, error->message);
	if (*ret_size == 0)
		return usage_error("-o %s: it must be more than 0", word);
	return 0;
}

static int parse_sparse_size(struct parser *parser, const char *word,
			     uint64_t *ret_size)
{
	struct options *options = parser->options;
	char *sizes = options->sizes;

	options->sizes =
		sizes ? g_strconcat(sizes, ",", word, NULL) : g_strdup(word);
	g_free(sizes);
	return parse_size(word, ret_size);
}

/* All users can see the source of a mount. */
static int pass_source(struct parser *parser, const char *word)
{
	g_autofree char *shown = bsp_nbd_uri_redact(word);

	return pass_to_libfuse(parser, shown);
}

/* libfuse needs the number a second time, in FUSE_INIT. */
static int parse_max_read(struct parser *parser, const char *word)
{
	g_autofree char *number = NULL;
	uint64_t size;

	if (parse_size(word, &size))
		return -1;
	if (size > G_MAXINT32)
		return usage_error("-o %s: it must be less than 2G", word);
	parser->options->max_read = (unsigned)size;
	number = g_strdup_printf("max_read=%u", (unsigned)size);
	return pass_to_libfuse(parser, number);
}

/* Returns the index of the value of word, "option=value", in names, which ends
 * with NULL; -1 if it is not among them. */
static int parse_choice(const char *word, const char *const names[])
{
	const char *value = strchr(word, '=') + 1;
	g_autoptr(GString) list = g_string_new(NULL);

	for (int i = 0; names[i]; i++) {
		if (strcmp(value, names[i]) == 0)
			return i;
		if (i)
			g_string_append(list, names[i + 1] ? ", " : " or ");
		g_string_append(list, names[i]);
	}
	return usage_error("-o %s: it must be %s", word, list->str);
}

static int parse_zero(struct parser *parser, const char *word)
{
	static const char *const names[] = {
		[BSP_ZERO_UNMAP] = "unmap",
		[BSP_ZERO_KEEP] = "keep",
		[BSP_ZERO_WRITE] = "write",
		NULL,
	};
	int choice = parse_choice(word, names);

	if (choice >= 0)
		parser->options->sparse.zero_mode = (enum bsp_zero_mode)choice;
	return choice < 0 ? -1 : 0;
}

static int parse_same(struct parser *parser, const char *word)
{
	static const char *const names[] = { "write", "skip", NULL };
	int choice = parse_choice(word, names);

	parser->options->sparse.skip_same = choice == 1;
	return choice < 0 ? -1 : 0;
}

static int parse_known(struct parser *parser, const char *word)
{
	g_autoptr(GError) error = NULL;

	if (bsp_known_from_name(strchr(word, '=') + 1,
				&parser->options->sparse.known, &error))
		return 0;
	return usage_error("-o %s: %s", word, error->message);
}

static int parse_scan(struct parser *parser, const char *word)
{
	static const char *const names[] = { "lazy", "background", NULL };
	int choice = parse_choice(word, names);

	parser->options->background = choice == 1;
	return choice < 0 ? -1 : 0;
}

static int parse_uring(struct parser *parser, const char *word)
{
	static const char *const names[] = { "auto", "off", NULL };
	int choice = parse_choice(word, names);

	parser->options->without_uring = choice == 1;
	return choice < 0 ? -1 : 0;
}

static int parse_tail(struct parser *parser, const char *word)
{
	g_autoptr(GError) error = NULL;

	if (bsp_tail_from_name(strchr(word, '=') + 1, &parser->options->tail,
			       &error))
		return 0;
	return usage_error("-o %s: %s", word, error->message);
}

/* Takes effect at once, also for messages about later options. */
static int parse_log(const char *word)
{
	static const char *const names[] = { "error", "warning", "info",
					     "debug", NULL };
	/*
	 * Notices, such as a change of the device, are shown from warning on.
	 */
	static const int levels[] = { LOG_ERR, LOG_NOTICE, LOG_INFO,
				      LOG_DEBUG };
	int choice = parse_choice(word, names);

	if (choice >= 0)
		log_set_level(levels[choice]);
	return choice < 0 ? -1 : 0;
}

/* Whether the table has a mount option of this name, followed by end. */
static bool is_option(const char *name, const char *end)
{
	g_autofree char *word = g_strconcat(name, end, NULL);

	for (const struct fuse_opt *opt = table; opt->templ; opt++) {
		if (strcmp(opt->templ, word) == 0)
			return true;
	}
	return false;
}

static int refuse_unknown(struct parser *parser, const char *word)
{
	const char *bare = word + strspn(word, "-");
	const char *dash = bare > word ? "" : "-o ";
	g_autofree char *name = g_strndup(bare, strcspn(bare, "="));

	if (g_ascii_strncasecmp(word, "x-", 2) == 0)
		return 0;
	if (is_option(word, "="))
		return usage_error(
			"%s%s needs a value, as in %s%s=...; blksparsefs --help tells its values",
			dash, word, dash, word);
	if (strchr(word, '=') && bare == word && is_option(name, ""))
		return usage_error("-o %s takes no value, as '%s'", name, word);
	if (bare > word && (is_option(name, "") || is_option(name, "=")))
		return usage_error("unknown option '%s'; did you mean -o %s?",
				   word, bare);
	return usage_error(
		"unknown option '%s%s'; blksparsefs --help lists the options",
		dash, word);
}

static int print_and_end(struct parser *parser, const char *text)
{
	if (parser->state != GO_ON)
		return 0;
	parser->state = ENDED;
	if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
		return 0;
	log_line(LOG_ERR, "standard output: %s", g_strerror(errno));
	parser->state = FAILED_TO_PRINT;
	return 0;
}

static int print_version(struct parser *parser)
{
	g_autofree char *text =
		g_strdup_printf("blksparsefs " PACKAGE_VERSION
				"\nlibfuse %s, built with " BUILT_WITH "\n",
				fuse_pkgversion());

	return print_and_end(parser, text);
}

/* A fuse_opt_proc_t. It keeps each word, so that nothing is left in libfuse's
 * own argument list. */
static int handle_option(void *data, const char *word, int key,
			 struct fuse_args *out)
{
	struct parser *parser = data;
	struct options *options = parser->options;

	switch (key) {
	case FUSE_OPT_KEY_NONOPT:
		g_ptr_array_add(parser->operands, g_strdup(word));
		return 0;
	case FUSE_OPT_KEY_OPT:
		return refuse_unknown(parser, word);
	case KEY_HELP:
		return print_and_end(parser, help);
	case KEY_VERSION:
		return print_version(parser);
	case KEY_DEBUG:
		log_set_level(LOG_DEBUG);
		log_keep_debug();
		options->foreground = true;
		return pass_to_libfuse(parser, "debug");
	case KEY_FOREGROUND:
		options->foreground = true;
		return 0;
	case KEY_ALL:
		options->all = true;
		return 0;
	case KEY_MATCH:
		g_ptr_array_add(options->matches,
				g_strdup(strchr(word, '=') + 1));
		return 0;
	case KEY_NAME:
		g_free(parser->name);
		parser->name = g_strdup(strchr(word, '=') + 1);
		return 0;
	case KEY_RO:
	case KEY_RW:
		options->writable = key == KEY_RW;
		return 0;
	case KEY_REMOUNT:
		return usage_error(
			"-o remount: a mount cannot be changed; unmount it, then mount it with the new options");
	case KEY_GRANULE:
		return parse_sparse_size(parser, word,
					 &options->sparse.granule);
	case KEY_LOOKAHEAD:
		return parse_sparse_size(parser, word,
					 &options->sparse.lookahead);
	case KEY_MINHOLE:
		return parse_sparse_size(parser, word,
					 &options->sparse.minhole);
	case KEY_SCAN:
		return parse_scan(parser, word);
	case KEY_URING:
		return parse_uring(parser, word);
	case KEY_SAME:
		parser->for_writing = "same";
		return parse_same(parser, word);
	case KEY_ZERO:
		parser->for_writing = "zero";
		return parse_zero(parser, word);
	case KEY_KNOWN:
		return parse_known(parser, word);
	case KEY_UNSHARED:
		options->sparse.unshared = true;
		return 0;
	case KEY_TAIL:
		parser->for_writing = "tail";
		return parse_tail(parser, word);
	case KEY_LOG:
		return parse_log(word);
	case KEY_MAX_READ:
		return parse_max_read(parser, word);
	case KEY_ALLOW_OTHER:
		parser->allow_other = true;
		return 0;
	case KEY_FSNAME:
		if (g_str_has_suffix(word, "="))
			return usage_error(
				"-o %s needs a value: the source that findmnt shows",
				word);
		parser->fsname = true;
		return pass_source(parser, word);
	case KEY_SUBTYPE:
		parser->subtype = true;
		return pass_to_libfuse(parser, word);
	case KEY_PASS:
		return pass_to_libfuse(parser, word);
	default:
		return 0;
	}
}

/* An option that has no effect would be taken for one that has. */
static int check_for_writing(const struct parser *parser)
{
	if (parser->options->writable || !parser->for_writing)
		return 0;
	return usage_error(
		"-o %s= is for a writable mount, and this one is read-only; give -o rw as well, or leave it out",
		parser->for_writing);
}

/* --- Operands ------------------------------------------------------------ */

static void source_free(void *data)
{
	struct source *source = data;

	g_free(source->name);
	g_free(source);
}

static int check_name(const char *name, const char *operand)
{
	/* Without a password, which messages must not show. */
	g_autofree char *shown = bsp_nbd_uri_redact(operand);

	if (name[0] == '\0')
		return usage_error("'%s': the name before '=' is empty", shown);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strchr(name, '/'))
		return usage_error("'%s': '%s' cannot be the name of a file",
				   shown, name);
	if (strlen(name) > NAME_BYTES_MAX)
		return usage_error(
			"'%s': the name is longer than %d bytes; give another with NAME=DEVICE",
			shown, NAME_BYTES_MAX);
	return 0;
}

/* mount(8) and fstab(5) have such names of devices, which are no paths. */
static int check_tag(const char *operand)
{
	static const struct {
		const char *tag, *folder;
	} tags[] = {
		{ "UUID=", "by-uuid" },
		{ "LABEL=", "by-label" },
		{ "PARTUUID=", "by-partuuid" },
		{ "PARTLABEL=", "by-partlabel" },
		{ "ID=", "by-id" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(tags); i++) {
		const char *value = operand + strlen(tags[i].tag);

		if (g_str_has_prefix(operand, tags[i].tag) &&
		    !strchr(value, '/') && access(value, F_OK) != 0)
			return usage_error(
				"'%s' is not a path; give /dev/disk/%s/%s",
				operand, tags[i].folder, value);
	}
	return 0;
}

/* Splits [NAME=]DEVICE. A path may contain a '='. A word with a '/' before the
 * '=' is a path, unless no such file exists and one exists with the name after
 * the '='. */
static int split_operand(const char *operand, struct source *source)
{
	const char *equals = strchr(operand, '=');
	const char *slash = strchr(operand, '/');

	if (bsp_is_nbd_uri(operand)) {
		source->path = operand;
		source->name = bsp_nbd_uri_name(operand);
		return check_name(source->name, operand);
	}
	if (check_tag(operand))
		return -1;
	if (equals && bsp_is_nbd_uri(equals + 1))
		slash = NULL;
	if (equals && slash && slash < equals &&
	    (access(operand, F_OK) == 0 || access(equals + 1, F_OK) != 0))
		equals = NULL;
	source->path = equals ? equals + 1 : operand;
	source->name = equals ? g_strndup(operand, (gsize)(equals - operand))
			      : g_path_get_basename(operand);
	if (source->path[0] == '\0')
		return usage_error("'%s': the name of the device is empty",
				   operand);
	return check_name(source->name, operand);
}

/* Gives the one device the name of -o name. */
static int set_name(const struct parser *parser)
{
	const GPtrArray *sources = parser->options->sources;
	struct source *source;
	g_autofree char *option = NULL;

	if (!parser->name)
		return 0;
	if (sources->len != 1)
		return usage_error(
			"-o name=%s is for one device; name each of several with NAME=DEVICE",
			parser->name);
	option = g_strconcat("-o name=", parser->name, NULL);
	source = g_ptr_array_index(sources, 0);
	if (source->path != g_ptr_array_index(parser->operands, 0))
		return usage_error(
			"-o name=%s: '%s' has a name already; leave one of them out",
			parser->name,
			(char *)g_ptr_array_index(parser->operands, 0));
	g_free(source->name);
	source->name = g_strdup(parser->name);
	return check_name(source->name, option);
}

static int check_collisions(const GPtrArray *sources)
{
	for (guint i = 0; i < sources->len; i++) {
		const struct source *a = g_ptr_array_index(sources, i);

		for (guint j = 0; j < i; j++) {
			const struct source *b = g_ptr_array_index(sources, j);
			g_autofree char *first = NULL, *second = NULL;

			if (strcmp(a->name, b->name) != 0)
				continue;
			first = bsp_nbd_uri_redact(b->path);
			second = bsp_nbd_uri_redact(a->path);
			return usage_error(
				"%s and %s would both be named '%s'; give one of them another name with NAME=DEVICE",
				first, second, a->name);
		}
	}
	return 0;
}

/* Other writers of an NBD export cannot be kept away, as from a block device,
 * nor noticed. Two writers would each zero what the other one wrote. */
static int check_writers(const struct options *options)
{
	for (guint i = 0; i < options->sources->len; i++) {
		const struct source *source =
			g_ptr_array_index(options->sources, i);
		g_autofree char *shown = NULL;

		if (!options->writable || options->sparse.unshared ||
		    !bsp_is_nbd_uri(source->path))
			continue;
		shown = bsp_nbd_uri_redact(source->path);
		return usage_error(
			"%s: NBD can neither lock an export nor tell of its other writers; give -o unshared as well if no other program writes to it, or mount it with -o ro",
			shown);
	}
	return 0;
}

/*
 * With --all no device is named. mount(8) names a source, though, and has
 * options without ro mean rw.
 */
static int parse_operands_of_all(struct parser *parser)
{
	struct options *options = parser->options;
	guint n = parser->operands->len;
	const char *source = "all";

	if (options->writable)
		return usage_error(
			"--all is read-only: a writable mount takes its devices for itself, and all of them are too many; give -o ro (mount and fstab mean rw without it), or name the devices");
	if (n == 0 ||
	    bsp_is_nbd_uri(g_ptr_array_index(parser->operands, n - 1)))
		return usage_error(
			"the mount point is missing; usage: blksparsefs [options] --all MOUNTPOINT");
	if (n == 2)
		source = g_ptr_array_index(parser->operands, 0);
	if (n > 2 || strchr(source, '/') || bsp_is_nbd_uri(source))
		return usage_error(
			"--all takes the mount point alone, not '%s'; to show some devices, give --match=GLOB, or name them without --all",
			(const char *)g_ptr_array_index(parser->operands, 0));
	if (parser->name)
		return usage_error(
			"-o name=%s is for one device; --all names all by itself",
			parser->name);
	options->sources = g_ptr_array_new_with_free_func(source_free);
	options->mountpoint = g_ptr_array_index(parser->operands, n - 1);
	return 0;
}

static int parse_operands(struct parser *parser)
{
	struct options *options = parser->options;
	guint n = parser->operands->len;

	if (options->all)
		return parse_operands_of_all(parser);
	if (options->matches->len)
		return usage_error(
			"match=%s is for --all",
			(const char *)g_ptr_array_index(options->matches, 0));
	if (n < 2 || bsp_is_nbd_uri(g_ptr_array_index(parser->operands, n - 1)))
		return usage_error(
			"%s is missing; usage: blksparsefs [options] [NAME=]DEVICE... MOUNTPOINT",
			n == 0 ? "the device" : "the mount point");
	options->sources = g_ptr_array_new_with_free_func(source_free);
	for (guint i = 0; i < n - 1; i++) {
		struct source *source = g_new0(struct source, 1);

		g_ptr_array_add(options->sources, source);
		if (split_operand(g_ptr_array_index(parser->operands, i),
				  source))
			return -1;
	}
	options->mountpoint = g_ptr_array_index(parser->operands, n - 1);
	if (set_name(parser) || check_collisions(options->sources))
		return -1;
	return check_writers(options);
}

/* --- For libfuse --------------------------------------------------------- */

/* With --all: the source that mount(8) was given. */
static char *source_of_all(const GPtrArray *operands)
{
	return g_strconcat("fsname=",
			   operands->len == 2 ? (const char *)g_ptr_array_index(
							operands, 0)
					      : "all",
			   NULL);
}

/*
 * All devices as one word, the source of the mount. findmnt(8) shows it, and
 * mount -a uses it to see which lines of fstab are mounted. The kernel refuses
 * a source that is longer than a path (mount(2)), and getmntent(3) reads lines
 * of 4 KiB, in which a byte may take four. So a long list is cut, and ends with
 * the number of further devices.
 */
static char *source_names(const GPtrArray *sources)
{
	g_autoptr(GString) names = g_string_new("fsname=");

	for (guint i = 0; i < sources->len; i++) {
		const struct source *source = g_ptr_array_index(sources, i);
		g_autofree char *path =
			bsp_is_nbd_uri(source->path)
				? bsp_nbd_uri_redact(source->path)
				: g_canonicalize_filename(source->path, NULL);

		if (i && names->len + strlen(path) > SOURCE_BYTES_MAX) {
			g_string_append_printf(names, ",and-%u-more",
					       sources->len - i);
			break;
		}
		g_string_append_printf(names, "%s%s", i ? "," : "", path);
	}
	return g_string_free(g_steal_pointer(&names), FALSE);
}

static int fill_fuse_args(struct parser *parser)
{
	struct fuse_args *args = &parser->options->fuse;
	g_autofree char *fsname =
		parser->options->all ? source_of_all(parser->operands)
				     : source_names(parser->options->sources);

	if ((!parser->fsname && pass_to_libfuse(parser, fsname)) ||
	    (!parser->subtype &&
	     pass_to_libfuse(parser, "subtype=blksparsefs")) ||
	    (parser->allow_other &&
	     (pass_to_libfuse(parser, "allow_other") ||
	      pass_to_libfuse(parser, "default_permissions"))) ||
	    (!parser->options->writable && pass_to_libfuse(parser, "ro")))
		return -1;
	if (fuse_opt_add_arg(args, "blksparsefs") ||
	    fuse_opt_add_arg(args, "-o") ||
	    fuse_opt_add_arg(args, parser->fuse_opts))
		return -1;
	return 0;
}

bool options_parse(int argc, char **argv, struct options *ret, int *ret_status)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct parser parser = {
		.options = ret,
		.operands = g_ptr_array_new_with_free_func(g_free),
	};
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->matches = g_ptr_array_new_with_free_func(g_free);
	r = fuse_opt_parse(&args, &parser, table, handle_option);
	/* All words were copied. Programs such as ps(1) show these. */
	for (int i = 0; i < argc; i++)
		bsp_nbd_uri_hide(argv[i]);
	if (r == 0 && parser.state == GO_ON)
		r = check_for_writing(&parser);
	if (r == 0 && parser.state == GO_ON)
		r = parse_operands(&parser);
	if (r == 0 && parser.state == GO_ON)
		r = fill_fuse_args(&parser);
	*ret_status = r					? EXIT_USAGE
		      : parser.state == FAILED_TO_PRINT ? EXIT_FAILURE
							: EXIT_SUCCESS;
	fuse_opt_free_args(&args);
	free(parser.fuse_opts);
	g_free(parser.name);
	ret->operands = parser.operands;
	return r == 0 && parser.state == GO_ON;
}

void options_done(struct options *options)
{
	fuse_opt_free_args(&options->fuse);
	g_clear_pointer(&options->sources, g_ptr_array_unref);
	g_clear_pointer(&options->matches, g_ptr_array_unref);
	g_clear_pointer(&options->operands, g_ptr_array_unref);
	g_clear_pointer(&options->sizes, g_free);
}
