/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/change-map.h"

#include <string.h>

/* The tokens that may come next. */
enum want {
	WANT_VALUE,
	WANT_FIRST, /* of an array: a value or its end */
	WANT_NAME,
	WANT_FIRST_NAME, /* of an object: a name or its end */
	WANT_COLON,
	WANT_COMMA, /* or the end */
	WANT_NOTHING,
};

/* The token that is being read. */
enum token { NONE, STRING, NUMBER, LITERAL };

/* The kinds of levels. */
enum kind {
	LIST,	 /* the array at the top */
	TOP,	 /* the object at the top */
	ITEM,	 /* of the array at the top: an extent or a message */
	EXTENTS, /* the array of a message, or of a report */
	EXTENT,	 /* of that */
	OTHER,
};

enum member {
	UNKNOWN,
	OFFSET,
	LENGTH,
	EXISTS,
	START,
	TYPE,
	BYTE_OFFSET,
	SIZE_BYTES,
	CAPACITY,
	BLOCKS,
	FORMAT,
	VERSION,
	SIZE,
	EXTENTS_OF_REPORT,
};

enum {
	AN_RBD_EXTENT = 1 << OFFSET | 1 << LENGTH | 1 << EXISTS,
	A_REPORT =
		1 << FORMAT | 1 << VERSION | 1 << SIZE | 1 << EXTENTS_OF_REPORT,
	AN_EXTENT_OF_REPORT = 1 << START | 1 << LENGTH | 1 << TYPE,
	A_MESSAGE = 1 << CAPACITY | 1 << BLOCKS,
	A_BLOCK = 1 << BYTE_OFFSET | 1 << SIZE_BYTES,
};

static const struct {
	const char *name;
	enum member member;
} members[] = {
	{ "offset", OFFSET },
	{ "length", LENGTH },
	{ "exists", EXISTS },
	{ "start", START },
	{ "type", TYPE },
	{ "byte_offset", BYTE_OFFSET },
	{ "byteOffset", BYTE_OFFSET },
	{ "size_bytes", SIZE_BYTES },
	{ "sizeBytes", SIZE_BYTES },
	{ "volume_capacity_bytes", CAPACITY },
	{ "volumeCapacityBytes", CAPACITY },
	{ "block_metadata", BLOCKS },
	{ "blockMetadata", BLOCKS },
	{ "format", FORMAT },
	{ "version", VERSION },
	{ "size", SIZE },
	{ "extents", EXTENTS_OF_REPORT },
};

/* The members that matter in a level of that kind. */
static unsigned members_of(enum kind kind)
{
	switch (kind) {
	case TOP:
		return A_REPORT;
	case ITEM:
		return AN_RBD_EXTENT | A_MESSAGE;
	case EXTENT:
		return AN_EXTENT_OF_REPORT | A_BLOCK;
	default:
		return 0;
	}
}

static bool fail(struct bsp_change_map *map, const char *why)
{
	if (!map->why)
		map->why = why;
	return false;
}

static struct bsp_change_map_level *top(struct bsp_change_map *map)
{
	return map->depth ? &map->levels[map->depth - 1] : NULL;
}

/* --- Words --- */

static bool is_word(const struct bsp_change_map *map, const char *word)
{
	size_t len = strlen(word);

	return map->n == len && memcmp(map->word, word, len) == 0;
}

static bool is_text(const struct bsp_change_map *map, const char *word)
{
	return map->is_text && !map->odd && is_word(map, word);
}

/* A whole number without a sign. */
static bool take_number(struct bsp_change_map *map, bool may_be_text,
			uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!map->n || map->odd || (map->is_text && !may_be_text) ||
	    (map->n > 1 && map->word[0] == '0'))
		return fail(map, "an offset or a length is no whole number");
	for (size_t i = 0; i < map->n; i++) {
		unsigned digit = (unsigned char)map->word[i] - '0';

		if (digit > 9)
			return fail(map,
				    "an offset or a length is no whole number");
		if (value > (UINT64_MAX - digit) / 10)
			return fail(map, "a number is too large");
		value = value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

static bool check_size(struct bsp_change_map *map, bool may_be_text)
{
	uint64_t size;

	if (!take_number(map, may_be_text, &size))
		return false;
	return size == map->size || fail(map, "it is about another size");
}

static bool take_type(struct bsp_change_map *map)
{
	map->changed = is_text(map, "differs") || is_text(map, "data") ||
		       is_text(map, "unknown");
	return map->changed || is_text(map, "hole") ||
	       fail(map, "the type of an extent is not known");
}

static bool is_exists(const struct bsp_change_map *map)
{
	return !map->odd && (is_word(map, "true") || is_word(map, "false"));
}

/* Takes a value that is no array or object. */
static bool take_word(struct bsp_change_map *map)
{
	struct bsp_change_map_level *level = top(map);
	uint64_t number;

	if (!level)
		return fail(map, "it is no list of changes");
	if (level->is_array)
		return level->kind == OTHER ||
		       fail(map, "a list has something else than objects");
	switch (level->member) {
	case OFFSET:
	case START:
		return take_number(map, false, &map->off);
	case BYTE_OFFSET:
		return take_number(map, true, &map->off);
	case LENGTH:
		return take_number(map, false, &map->len);
	case SIZE_BYTES:
		return take_number(map, true, &map->len);
	case EXISTS:
		return is_exists(map) || fail(map, "exists is not a truth");
	case TYPE:
		return take_type(map);
	case CAPACITY:
		return check_size(map, true);
	case SIZE:
		return check_size(map, false);
	case VERSION:
		if (!take_number(map, false, &number))
			return false;
		return number == 1 || fail(map, "its version is not known");
	case FORMAT:
		return is_text(map, "blksparse-diff") ||
		       is_text(map, "blksparse-map") ||
		       fail(map, "its format is not known");
	case BLOCKS:
		/* As a message without changes may have. */
		return (!map->is_text && is_word(map, "null")) ||
		       fail(map, "its blocks are no array");
	case EXTENTS_OF_REPORT:
		return fail(map, "its extents are no array");
	default:
		return true;
	}
}

static bool take_name(struct bsp_change_map *map)
{
	struct bsp_change_map_level *level = top(map);

	level->member = UNKNOWN;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		if (is_text(map, members[i].name) &&
		    (members_of(level->kind) & 1u << members[i].member))
			level->member = members[i].member;
	}
	if (level->member == UNKNOWN)
		return true;
	if (level->seen & 1u << level->member)
		return fail(map, "a member comes twice");
	level->seen |= 1u << level->member;
	return true;
}

/* --- Extents --- */

static bool take_extent(struct bsp_change_map *map, bool changed)
{
	if (map->off < map->end)
		return fail(map, "its extents overlap, or do not ascend");
	if (map->off > map->size || map->len > map->size - map->off)
		return fail(map, "an extent goes beyond the size");
	if (!map->len)
		return fail(map, "an extent is empty");
	map->end = map->off + map->len;
	if (!changed)
		return true;
	map->bytes += map->len;
	map->error = map->change(map->data, map->off, map->len);
	return !map->error || fail(map, "it cannot be kept");
}

/* All lists of one text are of one style. */
static bool take_style(struct bsp_change_map *map, unsigned style)
{
	if (map->style && map->style != style)
		return fail(map, "its objects are of different kinds");
	map->style = style;
	return true;
}

static bool end_item(struct bsp_change_map *map, unsigned seen)
{
	if (seen == AN_RBD_EXTENT)
		return take_style(map, AN_RBD_EXTENT) && take_extent(map, true);
	if (seen == A_MESSAGE || seen == 1 << CAPACITY)
		return take_style(map, A_MESSAGE);
	return fail(map, "an object lacks a member, or has too many");
}

static bool end_extent(struct bsp_change_map *map, unsigned seen)
{
	if (seen == AN_EXTENT_OF_REPORT && map->levels[0].kind == TOP)
		return take_extent(map, map->changed);
	/* Zeros may be left out. */
	if ((seen == A_BLOCK || seen == 1 << SIZE_BYTES) &&
	    map->levels[0].kind == LIST)
		return take_extent(map, true);
	return fail(map, "an extent lacks a member, or has too many");
}

/* --- Levels --- */

static bool begin_level(struct bsp_change_map *map, bool is_array)
{
	struct bsp_change_map_level *above = top(map);
	enum kind kind = OTHER;

	if (map->depth == BSP_CHANGE_MAP_DEPTH)
		return fail(map, "it is nested too deep");
	if (!above)
		kind = is_array ? LIST : TOP;
	else if (above->is_array && above->kind != OTHER) {
		if (is_array)
			return fail(map,
				    "a list has something else than objects");
		kind = above->kind == LIST ? ITEM : EXTENT;
	} else if (above->member == BLOCKS ||
		   above->member == EXTENTS_OF_REPORT) {
		if (!is_array)
			return fail(map, "its extents are no array");
		kind = EXTENTS;
	} else if (above->member != UNKNOWN) {
		return fail(map, "a member is no number and no string");
	}
	/* In an extent, members that are skipped change nothing of it. */
	if (kind == ITEM || kind == EXTENT)
		map->off = map->len = 0;
	map->levels[map->depth++] = (struct bsp_change_map_level){
		.kind = (unsigned char)kind,
		.is_array = is_array,
	};
	map->want = is_array ? WANT_FIRST : WANT_FIRST_NAME;
	return true;
}

static bool end_level(struct bsp_change_map *map, bool is_array)
{
	struct bsp_change_map_level *level = top(map);
	bool ok = true;

	if (!level || level->is_array != is_array)
		return fail(map, "it is no JSON");
	if (level->kind == ITEM)
		ok = end_item(map, level->seen);
	else if (level->kind == EXTENT)
		ok = end_extent(map, level->seen);
	else if (level->kind == TOP && level->seen != A_REPORT)
		ok = fail(map, "it lacks a member of a report of extents");
	map->depth--;
	map->want = map->depth ? WANT_COMMA : WANT_NOTHING;
	return ok;
}

/* --- Bytes --- */

static void begin_token(struct bsp_change_map *map, enum token token)
{
	map->token = (unsigned char)token;
	map->is_text = token == STRING;
	map->escaped = map->odd = false;
	map->n = 0;
}

/* Longer words do not matter. */
static void add_byte(struct bsp_change_map *map, char byte)
{
	if (map->n < sizeof(map->word))
		map->word[map->n++] = byte;
	else
		map->odd = true;
}

static bool end_value(struct bsp_change_map *map)
{
	map->token = NONE;
	if (map->want == WANT_NAME || map->want == WANT_FIRST_NAME) {
		map->want = WANT_COLON;
		return take_name(map);
	}
	map->want = map->depth ? WANT_COMMA : WANT_NOTHING;
	return take_word(map);
}

static bool read_string(struct bsp_change_map *map, char byte)
{
	if ((unsigned char)byte < ' ')
		return fail(map, "it is no JSON");
	if (map->escaped) {
		map->escaped = false;
	} else if (byte == '"') {
		return end_value(map);
	} else if (byte == '\\') {
		map->escaped = map->odd = true;
	}
	add_byte(map, byte);
	return true;
}

static bool is_of_number(char byte)
{
	return (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' ||
	       byte == '+' || byte == 'e' || byte == 'E';
}

static bool is_of_literal(char byte)
{
	return byte >= 'a' && byte <= 'z';
}

static bool end_literal(struct bsp_change_map *map)
{
	if (map->token == LITERAL && !is_word(map, "true") &&
	    !is_word(map, "false") && !is_word(map, "null"))
		return fail(map, "it is no JSON");
	return end_value(map);
}

/* A byte that begins a token, or is one. */
static bool read_byte(struct bsp_change_map *map, char byte)
{
	bool value = map->want == WANT_VALUE || map->want == WANT_FIRST;
	bool name = map->want == WANT_NAME || map->want == WANT_FIRST_NAME;

	if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r')
		return true;
	if (map->want == WANT_NOTHING)
		return fail(map, "more follows its end");
	if (byte == '"' && (value || name)) {
		begin_token(map, STRING);
		return true;
	}
	if (value && (is_of_number(byte) || is_of_literal(byte))) {
		begin_token(map, is_of_literal(byte) ? LITERAL : NUMBER);
		add_byte(map, byte);
		return true;
	}
	if (value && (byte == '{' || byte == '['))
		return begin_level(map, byte == '[');
	if (byte == '}' &&
	    (map->want == WANT_COMMA || map->want == WANT_FIRST_NAME))
		return end_level(map, false);
	if (byte == ']' && (map->want == WANT_COMMA || map->want == WANT_FIRST))
		return end_level(map, true);
	if (byte == ':' && map->want == WANT_COLON) {
		map->want = WANT_VALUE;
		return true;
	}
	if (byte == ',' && map->want == WANT_COMMA) {
		map->want = top(map)->is_array ? WANT_VALUE : WANT_NAME;
		return true;
	}
	return fail(map, "it is no JSON");
}

static bool step(struct bsp_change_map *map, char byte)
{
	if (map->token == STRING)
		return read_string(map, byte);
	if (map->token != NONE) {
		if (map->token == NUMBER ? is_of_number(byte)
					 : is_of_literal(byte)) {
			add_byte(map, byte);
			return true;
		}
		if (!end_literal(map))
			return false;
	}
	return read_byte(map, byte);
}

/* --- The caller --- */

void bsp_change_map_init(struct bsp_change_map *map, uint64_t size,
			 bsp_change_fn change, void *data)
{
	*map = (struct bsp_change_map){
		.size = size,
		.change = change,
		.data = data,
	};
}

bool bsp_change_map_read(struct bsp_change_map *map, const char *text,
			 size_t len)
{
	for (size_t i = 0; i < len && !map->why; i++) {
		if (step(map, text[i]))
			map->at++;
	}
	return !map->why;
}

bool bsp_change_map_end(struct bsp_change_map *map)
{
	if (map->why)
		return false;
	if (map->want != WANT_NOTHING)
		return fail(map, map->at ? "it ends too early" : "it is empty");
	return true;
}
