/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map's memory: a directory of leaves, two levels, two bits a granule.
 *
 *	directory  one entry of 8 bytes for 16384 granules (64 MiB at 4 KiB):
 *		   a state, if all of them are in it, or a pointer to a leaf
 *	leaf	   512 words of 32 granules each, lowest bits first, and the
 *		   number of granules in each state
 *
 * An entry gets a leaf when its granules begin to differ, and loses it when
 * they all agree again. So 16 TiB at 4 KiB cost 2 MiB of directory while whole
 * leaves are uniform, and 2 bits a granule plus 1 % at the very worst: 8 bytes
 * of directory, 16 of counters and a link, and 16 of malloc() for each leaf of
 * 4096 bytes.
 *
 * In the last leaf, granules past the map's end stay unknown and are not
 * counted: a leaf's counters add up to its capacity.
 *
 * Lookups take no lock. A leaf that became uniform, or a directory that was
 * replaced by a longer one, is unlinked and then retired: it is freed once no
 * lookup runs. A lookup raises the count of lookups before it loads an entry,
 * and lowers it at its end. So a lookup that starts after the count was seen to
 * be zero cannot find an unlinked leaf. All of these accesses are sequentially
 * consistent; on x86 the loads cost nothing.
 *
 * Retired memory is linked through itself. So the map can free memory, and
 * shrink, without an allocation.
 */
#include "base/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"

const struct bsp_transition bsp_transitions[BSP_EVENTS] = {
	[BSP_LEARNED_DATA] = { BSP_IN_UNKNOWN, BSP_DATA },
	[BSP_LEARNED_HOLE] = { BSP_IN_UNKNOWN, BSP_HOLE },
	[BSP_FORGOTTEN] = { BSP_IN_DATA | BSP_IN_HOLE, BSP_UNKNOWN },
	[BSP_WRITTEN] = { BSP_IN_ALL, BSP_DATA },
	[BSP_WRITE_FAILED] = { BSP_IN_ALL & ~BSP_IN_MARKER, BSP_DATA },
	[BSP_PUNCHED] = { BSP_IN_UNKNOWN | BSP_IN_DATA, BSP_MARKER },
	[BSP_ZEROS_LOST] = { BSP_IN_HOLE, BSP_MARKER },
	[BSP_ZEROED] = { BSP_IN_MARKER, BSP_HOLE },
};

enum {
	LEAF_SHIFT = 14,
	LEAF_GRANULES = 1 << LEAF_SHIFT,
	WORD_GRANULES = 32,
	LEAF_WORDS = LEAF_GRANULES / WORD_GRANULES,
};

/* The low bit of each granule in a word. */
#define LOW_BITS UINT64_C(0x5555555555555555)

/* The first member of each structure that can be retired. */
struct retired {
	struct retired *next; /* protected by the map's lock */
};

struct leaf {
	struct retired retired;
	_Atomic uint64_t words[LEAF_WORDS];
	uint16_t count[BSP_STATES]; /* protected by the map's lock */
};

/*
 * An entry below BSP_STATES is the state of all its granules. Any other value
 * is the address of a leaf.
 */
struct directory {
	struct retired retired;
	uint64_t len;
	_Atomic uintptr_t entry[];
};

struct bsp_map {
	_Atomic(struct directory *) directory; /* changed under lock */
	atomic_uint lookups;		       /* that run now */
	_Atomic uint64_t generation;	       /* changed under lock */

	pthread_mutex_t lock; /* no other lock is taken under it */
	/* Protected by lock: */
	uint64_t granules;
	uint64_t totals[BSP_STATES];
	size_t leaves;
	struct retired *retired; /* unlinked; a lookup may still use it */
	size_t retired_len;
};

static bool is_leaf(uintptr_t entry)
{
	return entry >= BSP_STATES;
}

static struct leaf *to_leaf(uintptr_t entry)
{
	return (struct leaf *)entry;
}

/* Returns a word with all granules in one state. */
static uint64_t uniform_word(enum bsp_state state)
{
	return LOW_BITS * state;
}

/* Returns the low bits of the granules of a word whose state is in the set. */
static uint64_t match(uint64_t word, unsigned set)
{
	uint64_t low = word, high = word >> 1, found = 0;

	if (set & BSP_IN_UNKNOWN)
		found |= ~high & ~low;
	if (set & BSP_IN_DATA)
		found |= ~high & low;
	if (set & BSP_IN_HOLE)
		found |= high & ~low;
	if (set & BSP_IN_MARKER)
		found |= high & low;
	return found & LOW_BITS;
}

/* Returns the low bits of granules [from, to) of a word, 0 <= from < to <= 32.
 */
static uint64_t range_bits(unsigned from, unsigned to)
{
	uint64_t above = to == WORD_GRANULES ? 0 : ~UINT64_C(0) << 2 * to;

	return LOW_BITS & ~above & (~UINT64_C(0) << 2 * from);
}

/* --- Retiring memory --- */

/* Frees retired memory, unless a lookup runs. Lock held. */
static void free_retired(struct bsp_map *map)
{
	struct retired *retired = map->retired;

	if (atomic_load(&map->lookups))
		return;
	while (retired) {
		struct retired *next = retired->next;

		free(retired);
		retired = next;
	}
	map->retired = NULL;
	map->retired_len = 0;
}

/* Call it after the memory was unlinked. Lock held. */
static void retire(struct bsp_map *map, struct retired *retired)
{
	retired->next = map->retired;
	map->retired = retired;
	map->retired_len++;
	free_retired(map);
}

/* --- Leaves --- */

static uint64_t leaf_capacity(const struct bsp_map *map, uint64_t index)
{
	return bsp_range_clamp(index << LEAF_SHIFT, LEAF_GRANULES,
			       map->granules);
}

/* Gives a uniform entry a leaf of the same state. Returns NULL if there is no
 * memory. Lock held. */
static struct leaf *split(struct bsp_map *map, uint64_t index)
{
	struct directory *dir = atomic_load(&map->directory);
	enum bsp_state state = (enum bsp_state)atomic_load(&dir->entry[index]);
	uint64_t capacity = leaf_capacity(map, index);
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	for (uint64_t at = 0; at < capacity; at += WORD_GRANULES) {
		unsigned n = (unsigned)bsp_min(WORD_GRANULES, capacity - at);

		atomic_init(&leaf->words[at / WORD_GRANULES],
			    uniform_word(state) & (range_bits(0, n) * 3));
	}
	leaf->count[state] = (uint16_t)capacity;
	map->leaves++;
	atomic_store(&dir->entry[index], (uintptr_t)leaf);
	return leaf;
}

/* Replaces a leaf by a state, if all its granules are in that state. Lock held.
 */
static void join(struct bsp_map *map, uint64_t index)
{
	struct directory *dir = atomic_load(&map->directory);
	struct leaf *leaf = to_leaf(atomic_load(&dir->entry[index]));
	uint64_t capacity = leaf_capacity(map, index);

	for (unsigned state = 0; state < BSP_STATES; state++) {
		if (leaf->count[state] != capacity)
			continue;
		atomic_store(&dir->entry[index], state);
		map->leaves--;
		retire(map, &leaf->retired);
		return;
	}
}

static void count_change(struct bsp_map *map, struct leaf *leaf,
			 uint64_t changed, uint64_t word, enum bsp_state to)
{
	for (unsigned state = 0; state < BSP_STATES; state++) {
		unsigned n = (unsigned)__builtin_popcountll(
			changed & match(word, 1U << state));

		leaf->count[state] = (uint16_t)(leaf->count[state] - n);
		map->totals[state] -= n;
		leaf->count[to] = (uint16_t)(leaf->count[to] + n);
		map->totals[to] += n;
	}
}

/* Sets the state of granules [from, to) of a leaf whose state is in the set.
 * Lock held. */
static void leaf_change(struct bsp_map *map, struct leaf *leaf, unsigned set,
			unsigned from, unsigned to, enum bsp_state state)
{
	while (from < to) {
		unsigned index = from / WORD_GRANULES;
		unsigned base = index * WORD_GRANULES;
		unsigned end = (unsigned)bsp_min(WORD_GRANULES, to - base);
		uint64_t word = atomic_load(&leaf->words[index]);
		uint64_t changed =
			match(word, set) & range_bits(from - base, end);

		if (changed) {
			uint64_t fields = changed * 3;

			count_change(map, leaf, changed, word, state);
			atomic_store(&leaf->words[index],
				     (word & ~fields) |
					     (uniform_word(state) & fields));
		}
		from = base + WORD_GRANULES;
	}
}

/* Sets the state of all granules of an entry; retires its leaf. Lock held. */
static void entry_unify(struct bsp_map *map, uint64_t index,
			enum bsp_state state)
{
	struct directory *dir = atomic_load(&map->directory);
	uintptr_t entry = atomic_load(&dir->entry[index]);
	uint64_t capacity = leaf_capacity(map, index);

	atomic_store(&dir->entry[index], state);
	if (is_leaf(entry)) {
		for (unsigned i = 0; i < BSP_STATES; i++)
			map->totals[i] -= to_leaf(entry)->count[i];
		map->leaves--;
		retire(map, &to_leaf(entry)->retired);
	} else {
		map->totals[entry] -= capacity;
	}
	map->totals[state] += capacity;
}

/* Whether all granules of a leaf are in the set, or in the state already. */
static bool leaf_all_in(const struct leaf *leaf, unsigned set,
			enum bsp_state state)
{
	for (unsigned i = 0; i < BSP_STATES; i++)
		if (leaf->count[i] && i != state && !(set & (1U << i)))
			return false;
	return true;
}

/* Sets the state of granules [from, to) of an entry whose state is in the set.
 * Lock held. */
static int entry_change(struct bsp_map *map, uint64_t index, unsigned set,
			unsigned from, unsigned to, enum bsp_state state)
{
	struct directory *dir = atomic_load(&map->directory);
	uintptr_t entry = atomic_load(&dir->entry[index]);
	uint64_t capacity = leaf_capacity(map, index);
	struct leaf *leaf;

	if (!is_leaf(entry) && (entry == state || !(set & (1U << entry))))
		return 0;
	if (from == 0 && to == capacity &&
	    (!is_leaf(entry) || leaf_all_in(to_leaf(entry), set, state))) {
		entry_unify(map, index, state);
		return 0;
	}
	leaf = is_leaf(entry) ? to_leaf(entry) : split(map, index);
	if (!leaf)
		return -ENOMEM;
	leaf_change(map, leaf, set, from, to, state);
	join(map, index);
	return 0;
}

/*
 * Changes a whole entry, of which only a part should change, because there was
 * no memory for a leaf. Three such changes are safe: any entry to unknown, an
 * unknown entry to data, and holes to markers. Readers get the same bytes, and
 * the next flush makes the device zero there once more. Holes of which a part
 * should become data become markers as well, and the change fails. If all of
 * them became data, a flush that fails and loses their zeros would no longer
 * know that they were holes.
 */
static int entry_change_whole(struct bsp_map *map, uint64_t index,
			      enum bsp_state state)
{
	struct directory *dir = atomic_load(&map->directory);
	uintptr_t entry = atomic_load(&dir->entry[index]);

	if (entry == BSP_HOLE && state != BSP_UNKNOWN) {
		entry_unify(map, index, BSP_MARKER);
		return state == BSP_MARKER ? 0 : -ENOMEM;
	}
	if (entry == BSP_MARKER || (state != BSP_UNKNOWN && state != BSP_DATA))
		return -ENOMEM;
	entry_unify(map, index, state);
	return 0;
}

/*
 * Sets the state of granules [from, to) whose state is in the set. With widen,
 * changes more granules when memory is short. On -ENOMEM the granules from the
 * entry on that could not get a leaf are as they were. Lock held.
 */
static int change_range(struct bsp_map *map, unsigned set, uint64_t from,
			uint64_t to, enum bsp_state state, bool widen)
{
	to = bsp_min(to, map->granules);
	while (from < to) {
		uint64_t index = from >> LEAF_SHIFT;
		uint64_t base = index << LEAF_SHIFT;
		uint64_t end = bsp_min(LEAF_GRANULES, to - base);
		int r = entry_change(map, index, set, (unsigned)(from - base),
				     (unsigned)end, state);

		if (r && widen)
			r = entry_change_whole(map, index, state);
		if (r)
			return r;
		from = base + LEAF_GRANULES;
	}
	return 0;
}

static int apply_event(struct bsp_map *map, enum bsp_event event, uint64_t from,
		       uint64_t to)
{
	return change_range(map, bsp_transitions[event].from, from, to,
			    bsp_transitions[event].to, true);
}

/* --- Life --- */

static uint64_t leaves_for(uint64_t granules)
{
	return bsp_granules(granules, LEAF_SHIFT);
}

static struct directory *directory_new(uint64_t len)
{
	struct directory *dir;

	if (len > (SIZE_MAX - sizeof(*dir)) / sizeof(dir->entry[0]))
		return NULL;
	/* calloc() maps large pieces fresh from the kernel: an entry takes
	 * memory when it is first written, not now. */
	dir = calloc(1, sizeof(*dir) + len * sizeof(dir->entry[0]));
	if (dir)
		dir->len = len;
	return dir;
}

struct bsp_map *bsp_map_new(uint64_t granules)
{
	struct bsp_map *map = calloc(1, sizeof(*map));
	struct directory *dir = directory_new(leaves_for(granules));

	if (!map || !dir) {
		free(map);
		free(dir);
		return NULL;
	}
	pthread_mutex_init(&map->lock, NULL);
	atomic_init(&map->directory, dir);
	map->granules = granules;
	map->totals[BSP_UNKNOWN] = granules;
	return map;
}

void bsp_map_free(struct bsp_map *map)
{
	struct directory *dir;

	if (!map)
		return;
	dir = atomic_load(&map->directory);
	for (uint64_t i = 0; i < dir->len; i++) {
		uintptr_t entry = atomic_load(&dir->entry[i]);

		if (is_leaf(entry))
			free(to_leaf(entry));
	}
	free_retired(map);
	free(dir);
	pthread_mutex_destroy(&map->lock);
	free(map);
}

/* --- Lookups --- */

static uint64_t leaf_next(struct leaf *leaf, unsigned set, uint64_t from,
			  uint64_t to)
{
	while (from < to) {
		uint64_t index = from / WORD_GRANULES;
		uint64_t base = index * WORD_GRANULES;
		uint64_t end = bsp_min(WORD_GRANULES, to - base);
		uint64_t word = atomic_load(&leaf->words[index]);
		uint64_t found =
			match(word, set) &
			range_bits((unsigned)(from - base), (unsigned)end);

		if (found)
			return base + (unsigned)__builtin_ctzll(found) / 2;
		from = base + WORD_GRANULES;
	}
	return to;
}

static uint64_t directory_next(struct directory *dir, unsigned set,
			       uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t index = from >> LEAF_SHIFT;
		uint64_t base = index << LEAF_SHIFT;
		uint64_t end = bsp_min(LEAF_GRANULES, to - base);
		uintptr_t entry = index < dir->len
					  ? atomic_load(&dir->entry[index])
					  : BSP_UNKNOWN;

		if (is_leaf(entry)) {
			uint64_t found = leaf_next(to_leaf(entry), set,
						   from - base, end);

			if (found < end)
				return base + found;
		} else if (set & (1U << entry)) {
			return from;
		}
		from = base + end;
	}
	return to;
}

uint64_t bsp_map_next(struct bsp_map *map, unsigned set, uint64_t from,
		      uint64_t to)
{
	uint64_t found;

	atomic_fetch_add(&map->lookups, 1);
	found = directory_next(atomic_load(&map->directory), set, from, to);
	atomic_fetch_sub(&map->lookups, 1);
	return found;
}

enum bsp_state bsp_map_get(struct bsp_map *map, uint64_t granule)
{
	enum bsp_state state = BSP_UNKNOWN;
	struct directory *dir;
	uint64_t index = granule >> LEAF_SHIFT;

	atomic_fetch_add(&map->lookups, 1);
	dir = atomic_load(&map->directory);
	if (index < dir->len) {
		uintptr_t entry = atomic_load(&dir->entry[index]);
		uint64_t at = granule % LEAF_GRANULES;

		if (is_leaf(entry))
			entry = atomic_load(
					&to_leaf(entry)
						 ->words[at / WORD_GRANULES]) >>
					(2 * (at % WORD_GRANULES)) &
				3;
		state = (enum bsp_state)entry;
	}
	atomic_fetch_sub(&map->lookups, 1);
	return state;
}

/* --- Events --- */

uint64_t bsp_map_generation(struct bsp_map *map)
{
	return atomic_load(&map->generation);
}

int bsp_map_learned_count(struct bsp_map *map, uint64_t generation,
			  uint64_t from, uint64_t to, bool zero, uint64_t *n)
{
	uint64_t unknown;
	int r = 0;

	pthread_mutex_lock(&map->lock);
	unknown = map->totals[BSP_UNKNOWN];
	if (generation == atomic_load(&map->generation))
		r = apply_event(map, zero ? BSP_LEARNED_HOLE : BSP_LEARNED_DATA,
				from, to);
	*n += unknown - map->totals[BSP_UNKNOWN];
	pthread_mutex_unlock(&map->lock);
	return r;
}

int bsp_map_learned(struct bsp_map *map, uint64_t generation, uint64_t from,
		    uint64_t to, bool zero)
{
	uint64_t n = 0;

	return bsp_map_learned_count(map, generation, from, to, zero, &n);
}

int bsp_map_event(struct bsp_map *map, enum bsp_event event, uint64_t from,
		  uint64_t to)
{
	int r;

	pthread_mutex_lock(&map->lock);
	r = apply_event(map, event, from, to);
	pthread_mutex_unlock(&map->lock);
	return r;
}

void bsp_map_forget(struct bsp_map *map, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&map->lock);
	atomic_fetch_add(&map->generation, 1);
	(void)apply_event(map, BSP_FORGOTTEN, from, to);
	pthread_mutex_unlock(&map->lock);
}

int bsp_map_forget_one(struct bsp_map *map, uint64_t granule)
{
	int r;

	pthread_mutex_lock(&map->lock);
	atomic_fetch_add(&map->generation, 1);
	r = change_range(map, bsp_transitions[BSP_FORGOTTEN].from, granule,
			 granule + 1, BSP_UNKNOWN, false);
	pthread_mutex_unlock(&map->lock);
	return r;
}

/* --- Growing and shrinking --- */

/* Makes the directory long enough. Lock held. */
static int directory_grow(struct bsp_map *map, uint64_t len)
{
	struct directory *old = atomic_load(&map->directory), *dir;

	if (len <= old->len)
		return 0;
	dir = directory_new(len);
	if (!dir)
		return -ENOMEM;
	for (uint64_t i = 0; i < old->len; i++)
		atomic_init(&dir->entry[i], atomic_load(&old->entry[i]));
	atomic_store(&map->directory, dir);
	retire(map, &old->retired);
	return 0;
}

/*
 * Gives the last entry a leaf if it is uniform and not unknown, before the map
 * grows: the granules that the entry gains are unknown. Lock held.
 */
static int split_last_entry(struct bsp_map *map)
{
	struct directory *dir = atomic_load(&map->directory);
	uint64_t index = map->granules >> LEAF_SHIFT;

	if (map->granules % LEAF_GRANULES == 0 ||
	    atomic_load(&dir->entry[index]) == BSP_UNKNOWN ||
	    is_leaf(atomic_load(&dir->entry[index])))
		return 0;
	return split(map, index) ? 0 : -ENOMEM;
}

/* Counts granules that an entry gained or lost, all of them unknown, in its
 * leaf, after map->granules was changed. Lock held. */
static void update_capacity(struct bsp_map *map, uint64_t index,
			    uint64_t before)
{
	struct directory *dir = atomic_load(&map->directory);
	uint64_t after = leaf_capacity(map, index);
	struct leaf *leaf;

	if (index >= dir->len || !is_leaf(atomic_load(&dir->entry[index])))
		return;
	leaf = to_leaf(atomic_load(&dir->entry[index]));
	leaf->count[BSP_UNKNOWN] =
		(uint16_t)(leaf->count[BSP_UNKNOWN] + after - before);
	join(map, index);
}

static int grow(struct bsp_map *map, uint64_t granules)
{
	uint64_t last = map->granules >> LEAF_SHIFT;
	uint64_t capacity = leaf_capacity(map, last);

	if (directory_grow(map, leaves_for(granules)) || split_last_entry(map))
		return -ENOMEM;
	map->totals[BSP_UNKNOWN] += granules - map->granules;
	map->granules = granules;
	update_capacity(map, last, capacity);
	return 0;
}

/* Cuts the map off inside its last entry. Only a leaf has to be changed: the
 * granules that it loses must be unknown. Lock held. */
static void shorten_entry(struct bsp_map *map, uint64_t granules)
{
	struct directory *dir = atomic_load(&map->directory);
	uint64_t index = granules >> LEAF_SHIFT;
	uintptr_t entry = atomic_load(&dir->entry[index]);
	uint64_t before = leaf_capacity(map, index);
	uint64_t after = granules % LEAF_GRANULES;

	if (is_leaf(entry)) {
		leaf_change(map, to_leaf(entry), BSP_IN_ALL, (unsigned)after,
			    (unsigned)before, BSP_UNKNOWN);
		entry = BSP_UNKNOWN;
	}
	map->totals[entry] -= before - after;
	map->granules = granules;
	update_capacity(map, index, before);
}

static void shrink(struct bsp_map *map, uint64_t granules)
{
	uint64_t last = leaves_for(map->granules);

	while (last > leaves_for(granules)) {
		last--;
		map->totals[BSP_UNKNOWN] -= leaf_capacity(map, last);
		entry_unify(map, last, BSP_UNKNOWN);
		map->granules = last << LEAF_SHIFT;
	}
	if (granules < map->granules)
		shorten_entry(map, granules);
}

int bsp_map_resize(struct bsp_map *map, uint64_t granules)
{
	int r = 0;

	pthread_mutex_lock(&map->lock);
	atomic_fetch_add(&map->generation, 1);
	if (granules > map->granules)
		r = grow(map, granules);
	else if (granules < map->granules)
		shrink(map, granules);
	pthread_mutex_unlock(&map->lock);
	return r;
}

/* --- Numbers --- */

void bsp_map_totals(struct bsp_map *map, uint64_t granule,
		    uint64_t ret_totals[BSP_STATES], enum bsp_state *ret_state)
{
	pthread_mutex_lock(&map->lock);
	memcpy(ret_totals, map->totals, sizeof(map->totals));
	*ret_state = bsp_map_get(map, granule);
	pthread_mutex_unlock(&map->lock);
}

size_t bsp_map_memory(struct bsp_map *map)
{
	struct directory *dir;
	size_t bytes;

	pthread_mutex_lock(&map->lock);
	dir = atomic_load(&map->directory);
	bytes = sizeof(*map) + sizeof(*dir) + dir->len * sizeof(dir->entry[0]) +
		(map->leaves + map->retired_len) * sizeof(struct leaf);
	pthread_mutex_unlock(&map->lock);
	return bytes;
}
