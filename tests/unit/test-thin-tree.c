/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metadata of a thin pool, built here block by block after the kernel's
 * description, with a checksum of this test's own.
 */
#include "device/thin-tree.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "unit.h"

enum {
	BLOCKS = 64,
	MAX_ENTRIES = 252,
	VOLUME = 7,
	TOP = 1,  /* the block of the tree of volumes */
	ROOT = 2, /* and of the volume's own */
};

static _Alignas(4096) unsigned char disk[BLOCKS][BSP_THIN_BLOCK];
static unsigned reads;
static int (*on_read)(uint64_t block); /* may change the disk, or fail */

static uint32_t crc32c(const unsigned char *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

static void seal(uint64_t block, uint32_t sum_xor)
{
	bsp_put_le32(disk[block],
		     crc32c(disk[block] + 4, BSP_THIN_BLOCK - 4) ^ sum_xor);
}

static void make_superblock(uint64_t transaction)
{
	unsigned char *bytes = disk[0];

	memset(bytes, 0, BSP_THIN_BLOCK);
	bsp_put_le64(bytes + 32, 27022010);
	bsp_put_le32(bytes + 40, 2);
	bsp_put_le64(bytes + 48, transaction);
	bsp_put_le64(bytes + 320, TOP);
	bsp_put_le32(bytes + 336, 128); /* 64 KiB */
	bsp_put_le32(bytes + 340, 8);
	seal(0, 160774);
}

/* An empty node; entries are added, then it is sealed. */
static void make_node(uint64_t block, bool leaf)
{
	unsigned char *bytes = disk[block];

	memset(bytes, 0, BSP_THIN_BLOCK);
	bsp_put_le32(bytes + 4, leaf ? 2 : 1);
	bsp_put_le64(bytes + 8, block);
	bsp_put_le32(bytes + 20, MAX_ENTRIES);
	bsp_put_le32(bytes + 24, 8);
	seal(block, 121107);
}

static void add(uint64_t block, uint64_t key, uint64_t value)
{
	unsigned char *bytes = disk[block];
	uint32_t n = bsp_get_le32(bytes + 16);

	assert_true(n < MAX_ENTRIES);
	bsp_put_le64(bytes + 32 + n * 8, key);
	bsp_put_le64(bytes + 32 + (MAX_ENTRIES + n) * 8, value);
	bsp_put_le32(bytes + 16, n + 1);
	seal(block, 121107);
}

static int read_block(void *data, uint64_t block, void *buf)
{
	reads++;
	if (on_read) {
		int r = on_read(block);

		if (r)
			return r;
	}
	if (block >= BLOCKS)
		return -EIO;
	memcpy(buf, disk[block], BSP_THIN_BLOCK);
	return 0;
}

static _Alignas(4096) unsigned char memory[BSP_THIN_MEMORY];

static struct bsp_thin_tree new_tree(void)
{
	on_read = NULL;
	memset(disk, 0, sizeof(disk));
	make_superblock(1);
	make_node(TOP, true);
	add(TOP, VOLUME, ROOT);
	make_node(ROOT, true);
	return (struct bsp_thin_tree){
		.read = read_block,
		.memory = memory,
	};
}

static void assert_run(struct bsp_thin_tree *tree, uint64_t block, bool mapped,
		       uint64_t end)
{
	struct bsp_thin_run run;

	assert_int_equal(bsp_thin_tree_find(tree, block, &run), 0);
	assert_int_equal(run.mapped, mapped);
	assert_int_equal(run.end, end);
}

/* --- Mappings --- */

static void a_volume_without_mappings_is_one_hole(void **state)
{
	struct bsp_thin_tree tree = new_tree();

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_int_equal(tree.block_size, 65536);
	assert_run(&tree, 0, false, UINT64_MAX);
	assert_run(&tree, 12345, false, UINT64_MAX);
}

static void runs_end_where_the_mappings_do(void **state)
{
	struct bsp_thin_tree tree = new_tree();

	for (uint64_t block = 10; block < 20; block++)
		add(ROOT, block, 100 + block);
	add(ROOT, 30, 1);
	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_run(&tree, 0, false, 10);
	assert_run(&tree, 9, false, 10);
	assert_run(&tree, 10, true, 20);
	assert_run(&tree, 19, true, 20);
	assert_run(&tree, 20, false, 30);
	assert_run(&tree, 30, true, 31);
	assert_run(&tree, 31, false, UINT64_MAX);
}

/* ROOT over leaves 3 and 4: blocks 100 to 199, and 200 to 299. */
static struct bsp_thin_tree two_leaves(void)
{
	struct bsp_thin_tree tree = new_tree();

	make_node(ROOT, false);
	add(ROOT, 100, 3);
	add(ROOT, 200, 4);
	make_node(3, true);
	make_node(4, true);
	for (uint64_t i = 100; i < 200; i++)
		add(3, i, i);
	for (uint64_t i = 200; i < 300; i++)
		add(4, i, i);
	return tree;
}

static void a_run_goes_on_in_the_next_leaf(void **state)
{
	struct bsp_thin_tree tree = two_leaves();

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_run(&tree, 0, false, 100);
	assert_run(&tree, 150, true, 300);
	assert_run(&tree, 300, false, UINT64_MAX);
}

/* After removals the parent's key may be lower than the leaf's first. */
static void a_walk_gets_on_where_the_parents_key_is_too_low(void **state)
{
	struct bsp_thin_tree tree = two_leaves();

	make_node(4, true);
	add(4, 250, 1);
	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_run(&tree, 199, true, 200);
	assert_run(&tree, 200, false, 250);
	assert_run(&tree, 250, true, 251);
}

static void a_mapped_run_reads_a_bounded_number_of_nodes(void **state)
{
	struct bsp_thin_tree tree = new_tree();
	struct bsp_thin_run run;

	make_node(ROOT, false);
	for (uint64_t leaf = 0; leaf < 50; leaf++) {
		add(ROOT, leaf * 10, 3 + leaf);
		make_node(3 + leaf, true);
		for (uint64_t i = 0; i < 10; i++)
			add(3 + leaf, leaf * 10 + i, 1);
	}
	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	reads = 0;
	assert_int_equal(bsp_thin_tree_find(&tree, 0, &run), 0);
	assert_true(run.mapped);
	assert_int_in_range(run.end, 10, 499);
	assert_int_in_range(reads, 1, 40);
}

/* Asking upwards reads each leaf once, and the superblock is only looked at
 * after a read. */
static void nodes_are_kept(void **state)
{
	struct bsp_thin_tree tree = two_leaves();

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_run(&tree, 100, true, 300);
	assert_true(tree.fresh);
	assert_int_equal(bsp_thin_tree_is_current(&tree), 1);
	reads = 0;
	for (uint64_t block = 0; block < 400; block++)
		assert_run(&tree, block, block >= 100 && block < 300,
			   block < 100	 ? 100
			   : block < 300 ? 300
					 : UINT64_MAX);
	assert_int_equal(reads, 0);
	assert_false(tree.fresh);
}

/* --- Broken and foreign metadata --- */

static void another_volume_is_not_there(void **state)
{
	struct bsp_thin_tree tree = new_tree();

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME + 1), -ENOENT);
}

static void a_changed_superblock_is_noticed(void **state)
{
	struct bsp_thin_tree tree = new_tree();

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_int_equal(bsp_thin_tree_is_current(&tree), 1);
	make_superblock(2);
	assert_int_equal(bsp_thin_tree_is_current(&tree), 0);
}

static void a_superblock_of_another_kind_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
	} changes[] = { { 32, 1 }, { 336, 0 }, { 340, 16 }, { 360, 1 } };

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct bsp_thin_tree tree = new_tree();

		bsp_put_le32(disk[0] + changes[i].at, changes[i].value);
		seal(0, 160774);
		assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), -EPROTO);
	}
}

/* Every byte that a walk relies on is covered by the sum. */
static void a_flipped_bit_is_refused(void **state)
{
	for (size_t at = 0; at < BSP_THIN_BLOCK; at += 61) {
		struct bsp_thin_tree tree = new_tree();
		struct bsp_thin_run run;

		assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
		disk[ROOT][at] ^= 4;
		assert_int_equal(bsp_thin_tree_find(&tree, 0, &run), -EPROTO);
	}
}

static void nodes_with_impossible_fields_are_refused(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
	} changes[] = {
		{ 4, 3 },	 /* neither leaf nor internal */
		{ 8, ROOT + 1 }, /* another block's number */
		{ 16, 253 },	 /* more entries than there is room for */
		{ 20, 300 },	 /* more room than a block has */
		{ 24, 4 },	 /* values of another size */
	};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct bsp_thin_tree tree = new_tree();
		struct bsp_thin_run run;

		assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
		bsp_put_le32(disk[ROOT] + changes[i].at, changes[i].value);
		seal(ROOT, 121107);
		assert_int_equal(bsp_thin_tree_find(&tree, 0, &run), -EPROTO);
	}
}

static void a_node_that_leads_to_itself_ends_the_walk(void **state)
{
	struct bsp_thin_tree tree = new_tree();
	struct bsp_thin_run run;

	make_node(ROOT, false);
	add(ROOT, 0, ROOT);
	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_int_equal(bsp_thin_tree_find(&tree, 5, &run), -EPROTO);
}

static void the_last_possible_block_ends_a_run(void **state)
{
	struct bsp_thin_tree tree = new_tree();

	for (uint64_t i = 5; i; i--)
		add(ROOT, UINT64_MAX - i + 1, i);
	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	assert_run(&tree, UINT64_MAX - 3, true, UINT64_MAX);
}

/* A node with any fields, but a right sum and its own number. */
static void make_random_node(uint64_t block)
{
	unsigned char *bytes = disk[block];
	uint64_t key = 0;

	make_node(block, random() % 2);
	for (long n = random() % 8; n > 0; n--) {
		key = random() % 8 ? key + (uint64_t)random() % 4
				   : (uint64_t)random() << 34;
		add(block, key, (uint64_t)random() % (BLOCKS + 2));
	}
	if (random() % 8 == 0)
		bsp_put_le32(bytes + 16, (uint32_t)random() % 300);
	if (random() % 8 == 0)
		bsp_put_le32(bytes + 20, (uint32_t)random() % 300);
	seal(block, 121107);
}

/* Loops, keys in no order, values out of range: a walk ends, and its answer
 * gets on. */
static void any_nodes_give_an_error_or_a_run(void **state)
{
	unsigned found = 0;

	srandom(1);
	for (int i = 0; i < 2000; i++) {
		struct bsp_thin_tree tree = new_tree();
		struct bsp_thin_run run;
		uint64_t block = (uint64_t)random() % 16;

		for (uint64_t node = ROOT; node < 12; node++)
			make_random_node(node);
		assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
		reads = 0;
		if (bsp_thin_tree_find(&tree, block, &run) == 0) {
			assert_true(run.end > block);
			found++;
		}
		assert_int_in_range(reads, 1, 8 * 16);
	}
	assert_true(found > 100);
}

static int fail_at_root(uint64_t block)
{
	return block == ROOT ? -EIO : 0;
}

static void an_error_of_the_device_is_passed_on(void **state)
{
	struct bsp_thin_tree tree = new_tree();
	struct bsp_thin_run run;

	assert_int_equal(bsp_thin_tree_open(&tree, VOLUME), 0);
	on_read = fail_at_root;
	assert_int_equal(bsp_thin_tree_find(&tree, 0, &run), -EIO);
}

/* --- Two volumes --- */

enum {
	OTHER = 9,	 /* a second volume */
	OTHER_ROOT = 20, /* its root; its leaves follow */
	LEAVES = 6,
	KEYS = 16, /* below one leaf */
};

static _Alignas(4096) unsigned char other_memory[BSP_THIN_MEMORY];

/* The mappings of both volumes; 0: none. */
static uint64_t truth[2][LEAVES * KEYS];

/* Fills a leaf with the keys of a slot. */
static void make_random_leaf(uint64_t block, unsigned volume, uint64_t slot)
{
	make_node(block, true);
	for (uint64_t key = slot * KEYS; key < (slot + 1) * KEYS; key++) {
		truth[volume][key] =
			random() % 3 ? 0 : (uint64_t)(1 + random() % 3);
		if (truth[volume][key])
			add(block, key, truth[volume][key]);
	}
}

/* Makes two volumes that share some leaves, and perhaps the root. */
static void make_two(struct bsp_thin_tree tree[2])
{
	bool same_root = random() % 8 == 0;

	tree[0] = new_tree();
	tree[1] = tree[0];
	tree[1].memory = other_memory;
	add(TOP, OTHER, same_root ? ROOT : OTHER_ROOT);
	make_node(ROOT, false);
	make_node(OTHER_ROOT, false);
	memset(truth, 0, sizeof(truth));
	for (uint64_t slot = 0; slot < LEAVES; slot++) {
		bool shared = random() % 2;

		/* Without the first leaves, keys are below all. */
		if (random() % 8 == 0)
			continue;
		make_random_leaf(ROOT + 1 + slot, 0, slot);
		add(ROOT, slot * KEYS, ROOT + 1 + slot);
		if (!shared)
			make_random_leaf(OTHER_ROOT + 1 + slot, 1, slot);
		else
			memcpy(&truth[1][slot * KEYS], &truth[0][slot * KEYS],
			       KEYS * sizeof(truth[0][0]));
		add(OTHER_ROOT, slot * KEYS,
		    (uint64_t)(shared ? ROOT : OTHER_ROOT) + 1 + slot);
	}
	if (same_root)
		memcpy(truth[1], truth[0], sizeof(truth[0]));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			bsp_thin_tree_open(&tree[i], i ? OTHER : VOLUME), 0);
}

static void differences_are_those_of_the_mappings(void **state)
{
	srandom(1);
	for (int i = 0; i < 500; i++) {
		struct bsp_thin_tree tree[2];
		struct bsp_thin_difference found = { 0 };
		bool order = random() % 2;

		make_two(tree);
		for (uint64_t block = 0; block < LEAVES * KEYS;
		     block = found.end) {
			assert_int_equal(bsp_thin_tree_compare(&tree[order],
							       &tree[!order],
							       block, &found),
					 0);
			assert_true(found.end > block);
			for (uint64_t key = block;
			     key < found.end && key < LEAVES * KEYS; key++)
				assert_int_equal(found.differs,
						 truth[0][key] !=
							 truth[1][key]);
		}
		assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1],
						       LEAVES * KEYS, &found),
				 0);
		assert_false(found.differs);
	}
}

static void shared_subtrees_are_not_read(void **state)
{
	struct bsp_thin_tree tree[2];
	struct bsp_thin_difference found;

	tree[0] = two_leaves();
	tree[1] = tree[0];
	tree[1].memory = other_memory;
	add(TOP, OTHER, OTHER_ROOT);
	make_node(OTHER_ROOT, false);
	add(OTHER_ROOT, 100, 3);
	add(OTHER_ROOT, 200, 21);
	make_node(21, true);
	add(21, 200, 200);
	add(21, 201, 77);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			bsp_thin_tree_open(&tree[i], i ? OTHER : VOLUME), 0);
	assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1], 100, &found),
			 0);
	assert_false(found.differs);
	assert_int_equal(found.end, 200);
	assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1], 200, &found),
			 0);
	assert_false(found.differs);
	assert_int_equal(found.end, 201);
	assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1], 201, &found),
			 0);
	assert_true(found.differs);
	assert_int_equal(found.end, 300);
	assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1], 300, &found),
			 0);
	assert_false(found.differs);
	assert_int_equal(found.end, UINT64_MAX);

	/* With the same root, nothing else is read. */
	tree[1] = tree[0];
	tree[1].memory = other_memory;
	assert_int_equal(bsp_thin_tree_open(&tree[1], VOLUME), 0);
	on_read = NULL;
	assert_int_equal(bsp_thin_tree_compare(&tree[0], &tree[1], 0, &found),
			 0);
	assert_false(found.differs);
	assert_int_equal(found.end, UINT64_MAX);
}

/* Loops, keys in no order, values out of range. */
static void any_two_volumes_give_an_error_or_an_end(void **state)
{
	unsigned found = 0;

	srandom(1);
	for (int i = 0; i < 2000; i++) {
		struct bsp_thin_tree tree[2] = { new_tree(), new_tree() };
		struct bsp_thin_difference difference;
		uint64_t block = (uint64_t)random() % 16;

		tree[1].memory = other_memory;
		add(TOP, OTHER, 3);
		for (uint64_t node = ROOT; node < 12; node++)
			make_random_node(node);
		for (unsigned j = 0; j < 2; j++)
			assert_int_equal(bsp_thin_tree_open(&tree[j],
							    j ? OTHER : VOLUME),
					 0);
		reads = 0;
		if (bsp_thin_tree_compare(&tree[0], &tree[1], block,
					  &difference) == 0) {
			assert_true(difference.end > block);
			found++;
		}
		assert_int_in_range(reads, 0, 2 * 16);
	}
	assert_true(found > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_without_mappings_is_one_hole),
		cmocka_unit_test(runs_end_where_the_mappings_do),
		cmocka_unit_test(a_run_goes_on_in_the_next_leaf),
		cmocka_unit_test(
			a_walk_gets_on_where_the_parents_key_is_too_low),
		cmocka_unit_test(a_mapped_run_reads_a_bounded_number_of_nodes),
		cmocka_unit_test(nodes_are_kept),
		cmocka_unit_test(another_volume_is_not_there),
		cmocka_unit_test(a_changed_superblock_is_noticed),
		cmocka_unit_test(a_superblock_of_another_kind_is_refused),
		cmocka_unit_test(a_flipped_bit_is_refused),
		cmocka_unit_test(nodes_with_impossible_fields_are_refused),
		cmocka_unit_test(a_node_that_leads_to_itself_ends_the_walk),
		cmocka_unit_test(the_last_possible_block_ends_a_run),
		cmocka_unit_test(any_nodes_give_an_error_or_a_run),
		cmocka_unit_test(an_error_of_the_device_is_passed_on),
		cmocka_unit_test(differences_are_those_of_the_mappings),
		cmocka_unit_test(shared_subtrees_are_not_read),
		cmocka_unit_test(any_two_volumes_give_an_error_or_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
