/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of names and inodes of a mount with --all: which inode a name gets,
 * how long a node lives, and that threads may meet there.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

enum {
	FIRST = 64,
	FOLDER = 1,
	OTHER_FOLDER = 2,
	THREADS = 8,
	ROUNDS = 3000,
	NAMES = 5,
};

static struct table *table;
static atomic_int objects;

struct object {
	uint64_t ino;
	atomic_uint used;
};

static void *make(void *data, uint64_t parent, uint64_t ino, const char *name,
		  const char *identity)
{
	struct object *object = calloc(1, sizeof(*object));

	if (!object)
		return NULL;
	object->ino = ino;
	atomic_fetch_add(&objects, 1);
	return object;
}

static void free_object(void *object)
{
	free(object);
	atomic_fetch_sub(&objects, 1);
}

static int setup(void **state)
{
	static const struct table_ops ops = {
		.make = make,
		.free = free_object,
	};

	atomic_store(&objects, 0);
	table = table_new(&ops, NULL, FIRST);
	return table ? 0 : -1;
}

static int teardown(void **state)
{
	table_free(table);
	return atomic_load(&objects) == 0 ? 0 : -1;
}

/* Enters a name, and pins its node n times. */
static uint64_t enter(const char *name, const char *identity, uint64_t n)
{
	uint64_t ino = 0;

	assert_int_equal(table_enter(table, FOLDER, name, identity, n, 0, &ino),
			 0);
	return ino;
}

static uint64_t inode_of(uint64_t ino)
{
	const struct object *object = table_find(table, ino);

	return object ? object->ino : 0;
}

static void a_name_keeps_its_inode(void **state)
{
	uint64_t a = enter("sda", "8:0 1", 1), b = enter("sdb", "8:16 2", 1);

	assert_int_equal(a, FIRST);
	assert_int_not_equal(a, b);
	table_forget(table, a, 1);
	assert_int_equal(enter("sda", "8:0 1", 0), a);
	assert_int_equal(inode_of(a), a);
	assert_int_equal(inode_of(b), b);
	assert_int_equal(inode_of(b + 1), 0);
}

static void another_object_gets_another_inode(void **state)
{
	uint64_t old = enter("loop0", "7:0 1", 2), new;

	new = enter("loop0", "7:0 2", 1);
	assert_int_not_equal(new, old);
	/* The old one is there until the kernel has forgotten both lookups. */
	assert_int_equal(inode_of(old), old);
	assert_false(table_is_current(table, old));
	assert_true(table_is_current(table, new));
	table_forget(table, old, 1);
	assert_int_equal(inode_of(old), old);
	table_forget(table, old, 1);
	assert_int_equal(inode_of(old), 0);
	assert_int_equal(atomic_load(&objects), 1);
	/* The first object again is a third one. */
	assert_true(enter("loop0", "7:0 1", 0) > new);
}

static void a_name_that_left_is_forgotten(void **state)
{
	uint64_t a = enter("sda", "8:0 1", 0);

	table_leave(table, FOLDER, "sda");
	assert_int_equal(inode_of(a), 0);
	assert_int_equal(atomic_load(&objects), 0);
	table_leave(table, FOLDER, "sda");
	a = enter("sda", "8:0 1", 1);
	table_leave(table, OTHER_FOLDER, "sda");
	assert_true(table_is_current(table, a));
	table_leave(table, FOLDER, "sda");
	assert_false(table_is_current(table, a));
	assert_true(table_pin(table, a));
	table_forget(table, a, 1);
	assert_int_equal(inode_of(a), a);
	/* More than the pins is no more than all. */
	table_forget(table, a, 9);
	assert_int_equal(inode_of(a), 0);
	assert_false(table_pin(table, a));
}

static void a_listing_makes_the_others_stale(void **state)
{
	uint64_t gone = enter("gone", "1", 0), stays = enter("stays", "2", 0);
	uint64_t elsewhere, late, ino;
	unsigned round, second;

	assert_int_equal(
		table_enter(table, OTHER_FOLDER, "x", "3", 0, 0, &elsewhere),
		0);
	round = table_begin_listing(table);
	assert_int_equal(
		table_enter(table, FOLDER, "stays", "2", 0, round, &ino), 0);
	late = enter("late", "4", 0); /* a lookup meanwhile */
	table_end_listing(table, FOLDER, round);
	assert_int_equal(inode_of(gone), 0);
	assert_int_equal(inode_of(stays), stays);
	assert_int_equal(inode_of(late), late);
	assert_int_equal(inode_of(elsewhere), elsewhere);

	/* Two listings at once, of which the older one enters a name last. */
	round = table_begin_listing(table);
	second = table_begin_listing(table);
	assert_int_equal(
		table_enter(table, FOLDER, "stays", "2", 0, second, &ino), 0);
	assert_int_equal(
		table_enter(table, FOLDER, "stays", "2", 0, round, &ino), 0);
	table_end_listing(table, FOLDER, second);
	table_end_listing(table, FOLDER, round);
	assert_int_equal(inode_of(stays), stays);
	assert_int_equal(inode_of(late), 0);
}

struct seen {
	unsigned n;
	uint64_t ino;
};

static void see(void *data_of_node, void *data)
{
	struct object *object = data_of_node;
	struct seen *seen = data;

	/* In their order; and the table may be changed meanwhile. */
	assert_true(object->ino > seen->ino);
	seen->ino = object->ino;
	seen->n++;
	table_leave(table, FOLDER, "b");
}

static void each_node_is_visited_once(void **state)
{
	struct seen seen = { 0 };

	(void)enter("a", "1", 0);
	(void)enter("b", "2", 0);
	(void)enter("c", "3", 0);
	table_each(table, see, &seen);
	assert_int_equal(seen.n, 2);
}

static void many_nodes_are_found(void **state)
{
	uint64_t inos[500];
	char name[32];

	for (size_t i = 0; i < 500; i++) {
		(void)snprintf(name, sizeof(name), "sd%zu", i);
		inos[i] = enter(name, name, 0);
	}
	for (size_t i = 0; i < 500; i += 2) {
		(void)snprintf(name, sizeof(name), "sd%zu", i);
		table_leave(table, FOLDER, name);
	}
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(inode_of(inos[i]), i % 2 ? inos[i] : 0);
}

/* --- Threads ------------------------------------------------------------- */

static void touch(void *object, void *data)
{
	atomic_fetch_add(&((struct object *)object)->used, 1);
}

/* Looks names up, uses and forgets them, while their devices change. */
static void *work(void *data)
{
	unsigned seed = (unsigned)(uintptr_t)data;

	for (int i = 0; i < ROUNDS; i++) {
		char name[8], identity[8];
		struct object *object;
		unsigned round;
		uint64_t ino;

		(void)snprintf(name, sizeof(name), "n%d",
			       rand_r(&seed) % NAMES);
		(void)snprintf(identity, sizeof(identity), "%d", i / 100);
		if (table_enter(table, FOLDER, name, identity, 1, 0, &ino))
			abort(); /* cmocka works in the main thread only */
		object = table_find(table, ino);
		if (!object || object->ino != ino)
			abort();
		atomic_fetch_add(&object->used, 1);
		if (i % 7 == 0)
			table_leave(table, FOLDER, name);
		if (i % 11 == 0)
			table_each(table, touch, NULL);
		if (i % 13 == 0) {
			round = table_begin_listing(table);
			table_end_listing(table, FOLDER, round);
		}
		table_forget(table, ino, 1);
	}
	return NULL;
}

static void threads_meet_no_freed_node(void **state)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work,
						(void *)(i + 1)),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	table_end_listing(table, FOLDER, table_begin_listing(table));
	assert_int_equal(atomic_load(&objects), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_keeps_its_inode),
		TEST(another_object_gets_another_inode),
		TEST(a_name_that_left_is_forgotten),
		TEST(a_listing_makes_the_others_stale),
		TEST(each_node_is_visited_once),
		TEST(many_nodes_are_found),
		TEST(threads_meet_no_freed_node),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
