/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/thin-tree.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/le.h"

enum {
	/* Offsets in a superblock (struct thin_disk_superblock). */
	SUPER_MAGIC = 32,
	SUPER_DATA_MAPPING_ROOT = 320,
	SUPER_DATA_BLOCK_SIZE = 336,
	SUPER_METADATA_BLOCK_SIZE = 340,
	SUPER_INCOMPAT_FLAGS = 360,

	/* Offsets in a node (struct node_header). */
	NODE_FLAGS = 4,
	NODE_BLOCK = 8,
	NODE_ENTRIES = 16,
	NODE_MAX_ENTRIES = 20,
	NODE_VALUE_SIZE = 24,
	NODE_KEYS = 32,

	INTERNAL = 1,
	LEAF = 2,

	SECTOR = 512,
	DEPTH_MAX = 16, /* 2^64 blocks need fewer */
	LEAVES_MAX = 8, /* read for a mapped run; below BSP_THIN_NODES */
};

#define MAGIC UINT64_C(27022010)
#define SUPER_SUM_XOR UINT32_C(160774)
#define NODE_SUM_XOR UINT32_C(121107)

/* CRC-32C without the final complement, as the kernel's crc32c(). */
static uint32_t crc32c(uint32_t crc, const unsigned char *bytes, size_t len)
{
	static const uint32_t half[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		crc = half[crc & 15] ^ (crc >> 4);
		crc = half[crc & 15] ^ (crc >> 4);
	}
	return crc;
}

/* The sum covers all of the block but itself (dm_bm_checksum() in
 * drivers/md/persistent-data/dm-block-manager.c). */
static bool sum_holds(const unsigned char *block, uint32_t sum_xor)
{
	uint32_t sum = crc32c(UINT32_MAX, block + 4, BSP_THIN_BLOCK - 4);

	return bsp_get_le32(block) == (sum ^ sum_xor);
}

/* --- Nodes --- */

struct node {
	const unsigned char *bytes;
	uint32_t entries, max_entries;
	bool leaf;
};

static uint64_t key_at(const struct node *node, uint32_t i)
{
	return bsp_get_le64(node->bytes + NODE_KEYS + (size_t)i * 8);
}

static uint64_t value_at(const struct node *node, uint32_t i)
{
	return key_at(node, node->max_entries + i);
}

static unsigned char *superblock_of(const struct bsp_thin_tree *tree)
{
	return tree->memory + BSP_THIN_BLOCK;
}

static unsigned char *kept_node(const struct bsp_thin_tree *tree, unsigned i)
{
	return tree->memory + (size_t)(2 + i) * BSP_THIN_BLOCK;
}

static bool is_node(const unsigned char *bytes, uint64_t block)
{
	uint32_t flags = bsp_get_le32(bytes + NODE_FLAGS);
	uint32_t max_entries = bsp_get_le32(bytes + NODE_MAX_ENTRIES);

	return sum_holds(bytes, NODE_SUM_XOR) &&
	       bsp_get_le64(bytes + NODE_BLOCK) == block &&
	       bsp_get_le32(bytes + NODE_VALUE_SIZE) == 8 &&
	       max_entries <= (BSP_THIN_BLOCK - NODE_KEYS) / 16 &&
	       bsp_get_le32(bytes + NODE_ENTRIES) <= max_entries &&
	       (flags == INTERNAL || flags == LEAF);
}

/* Finds a node among those that are kept, or reads and checks it. */
static int find_node(struct bsp_thin_tree *tree, uint64_t block,
		     const unsigned char **ret_bytes)
{
	unsigned i = 0;
	int r;

	while (i < BSP_THIN_NODES && tree->kept[i] != block)
		i++;
	if (i == BSP_THIN_NODES) {
		i = tree->next;
		tree->next = (i + 1) % BSP_THIN_NODES;
		tree->kept[i] = 0;
		tree->fresh = true;
		r = tree->read(tree->data, block, kept_node(tree, i));
		if (r)
			return r;
		/* Block 0 is the superblock, and means "none" here. */
		if (!block || !is_node(kept_node(tree, i), block))
			return -EPROTO;
		tree->kept[i] = block;
	}
	*ret_bytes = kept_node(tree, i);
	return 0;
}

static int read_node(struct bsp_thin_tree *tree, uint64_t block,
		     struct node *ret_node)
{
	const unsigned char *bytes;
	int r = find_node(tree, block, &bytes);

	if (r)
		return r;
	*ret_node = (struct node){
		bytes,
		bsp_get_le32(bytes + NODE_ENTRIES),
		bsp_get_le32(bytes + NODE_MAX_ENTRIES),
		bsp_get_le32(bytes + NODE_FLAGS) == LEAF,
	};
	return 0;
}

/* Returns the number of keys that are not above key. */
static uint32_t keys_up_to(const struct node *node, uint64_t key)
{
	uint32_t low = 0, high = node->entries;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (key_at(node, middle) <= key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The outcome of a walk. */
struct found {
	bool is; /* the key is there */
	uint64_t value;
	/* If the key is there: all keys in [key, end) are there. If not: none
	 * of them is. */
	uint64_t end;
};

/*
 * Walks from a tree's root to the leaf that has key, or would have it. A parent
 * has a key for each subtree, which is not above the first key in the subtree.
 * So if this leaf has no higher key, all keys before that of the next subtree
 * are missing, and the caller can go on from there.
 */
static int walk(struct bsp_thin_tree *tree, uint64_t root, uint64_t key,
		struct found *ret_found)
{
	uint64_t block = root, next = UINT64_MAX;

	*ret_found = (struct found){ 0 };
	for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
		struct node node;
		int r = read_node(tree, block, &node);
		uint32_t i;

		if (r)
			return r;
		i = keys_up_to(&node, key);
		if (i < node.entries)
			next = key_at(&node, i);
		if (i == 0 || (node.leaf && key_at(&node, i - 1) != key)) {
			ret_found->end = next;
			return next > key ? 0 : -EPROTO;
		}
		if (node.leaf) {
			ret_found->is = true;
			ret_found->value = value_at(&node, i - 1);
			ret_found->end = key + 1;
			while (i < node.entries &&
			       ret_found->end != UINT64_MAX &&
			       key_at(&node, i) == ret_found->end) {
				ret_found->end++;
				i++;
			}
			return 0;
		}
		block = value_at(&node, i - 1);
	}
	return -EPROTO;
}

/* --- The volume --- */

static bool is_superblock(const unsigned char *bytes)
{
	return sum_holds(bytes, SUPER_SUM_XOR) &&
	       bsp_get_le64(bytes + SUPER_MAGIC) == MAGIC &&
	       bsp_get_le32(bytes + SUPER_INCOMPAT_FLAGS) == 0 &&
	       bsp_get_le32(bytes + SUPER_METADATA_BLOCK_SIZE) ==
		       BSP_THIN_BLOCK / SECTOR &&
	       bsp_get_le32(bytes + SUPER_DATA_BLOCK_SIZE) != 0;
}

int bsp_thin_tree_open(struct bsp_thin_tree *tree, uint64_t volume)
{
	const unsigned char *bytes = superblock_of(tree);
	struct found found;
	int r = tree->read(tree->data, 0, superblock_of(tree));

	memset(tree->kept, 0, sizeof(tree->kept));
	tree->fresh = true;
	if (r)
		return r;
	if (!is_superblock(bytes))
		return -EPROTO;
	r = walk(tree, bsp_get_le64(bytes + SUPER_DATA_MAPPING_ROOT), volume,
		 &found);
	if (r)
		return r;
	if (!found.is)
		return -ENOENT;
	tree->root = found.value;
	tree->block_size =
		(uint64_t)bsp_get_le32(bytes + SUPER_DATA_BLOCK_SIZE) * SECTOR;
	return 0;
}

int bsp_thin_tree_find(struct bsp_thin_tree *tree, uint64_t block,
		       struct bsp_thin_run *ret_run)
{
	struct found found, more;
	int r = walk(tree, tree->root, block, &found);

	for (unsigned leaf = 1;
	     !r && found.is && found.end != UINT64_MAX && leaf < LEAVES_MAX;
	     leaf++) {
		r = walk(tree, tree->root, found.end, &more);
		if (r || !more.is)
			break;
		found.end = more.end;
	}
	*ret_run = (struct bsp_thin_run){ found.is, found.end };
	return r;
}

/* --- Two volumes --- */

/* The way from a root to the leaf that has a key, or would have it. */
struct path {
	unsigned n;
	uint64_t blocks[DEPTH_MAX];
	uint64_t ends[DEPTH_MAX]; /* of the keys below each */
	/* The leaf, up to the end of its keys. If the key is below all that are
	 * there, it has none. */
	struct node leaf;
	uint64_t limit;
	uint32_t at; /* the first entry whose key is not below */
};

static int find_path(struct bsp_thin_tree *tree, uint64_t key,
		     struct path *ret_path)
{
	uint64_t block = tree->root, end = UINT64_MAX;

	*ret_path = (struct path){ 0 };
	while (ret_path->n < DEPTH_MAX) {
		struct node node;
		int r = read_node(tree, block, &node);
		uint32_t i;

		if (r)
			return r;
		ret_path->blocks[ret_path->n] = block;
		ret_path->ends[ret_path->n++] = end;
		i = keys_up_to(&node, key);
		if (node.leaf) {
			ret_path->leaf = node;
			ret_path->limit = end;
			ret_path->at =
				i && key_at(&node, i - 1) == key ? i - 1 : i;
			return 0;
		}
		if (i < node.entries)
			end = key_at(&node, i);
		if (end <= key)
			return -EPROTO;
		ret_path->limit = end;
		if (i == 0)
			return 0;
		block = value_at(&node, i - 1);
	}
	return -EPROTO;
}

/* The end of the keys that two ways have from the same node; 0 if they share
 * none. */
static uint64_t shared_end(const struct path *a, const struct path *b)
{
	for (unsigned i = 0; i < a->n; i++) {
		for (unsigned j = 0; j < b->n; j++) {
			if (a->blocks[i] == b->blocks[j])
				return a->ends[i] < b->ends[j] ? a->ends[i]
							       : b->ends[j];
		}
	}
	return 0;
}

/* Whether a key is there. Keys are asked for in ascending order. */
static bool take(struct path *path, uint64_t key, uint64_t *ret_value)
{
	const struct node *leaf = &path->leaf;

	while (path->at < leaf->entries && key_at(leaf, path->at) < key)
		path->at++;
	if (path->at == leaf->entries || key_at(leaf, path->at) != key)
		return false;
	*ret_value = value_at(leaf, path->at);
	return true;
}

/* The next key that is there, or the end of the leaf. */
static uint64_t next_key(const struct path *path)
{
	if (path->at < path->leaf.entries)
		return key_at(&path->leaf, path->at);
	return path->limit;
}

/* Compares a key. *ret_end is the end of keys that are not there at all. */
static bool differs(struct path *a, struct path *b, uint64_t key,
		    uint64_t *ret_end)
{
	uint64_t of_a, of_b;
	bool in_a = take(a, key, &of_a), in_b = take(b, key, &of_b);

	*ret_end = key + 1;
	if (in_a || in_b)
		return in_a != in_b || of_a != of_b;
	*ret_end = next_key(a) < next_key(b) ? next_key(a) : next_key(b);
	return false;
}

int bsp_thin_tree_compare(struct bsp_thin_tree *a, struct bsp_thin_tree *b,
			  uint64_t block,
			  struct bsp_thin_difference *ret_difference)
{
	struct path of_a, of_b;
	int r = find_path(a, block, &of_a);
	uint64_t limit, end;

	if (!r)
		r = find_path(b, block, &of_b);
	if (r)
		return r;
	*ret_difference =
		(struct bsp_thin_difference){ false, shared_end(&of_a, &of_b) };
	if (ret_difference->end)
		return ret_difference->end > block ? 0 : -EPROTO;
	limit = of_a.limit < of_b.limit ? of_a.limit : of_b.limit;
	ret_difference->differs = differs(&of_a, &of_b, block, &end);
	while (end < limit) {
		uint64_t next;

		if (end <= block)
			return -EPROTO;
		if (differs(&of_a, &of_b, end, &next) !=
		    ret_difference->differs)
			break;
		if (next <= end)
			return -EPROTO;
		end = next;
	}
	ret_difference->end = end < limit ? end : limit;
	return ret_difference->end > block ? 0 : -EPROTO;
}

/* --- The superblock --- */

int bsp_thin_tree_is_current(struct bsp_thin_tree *tree)
{
	int r = tree->read(tree->data, 0, tree->memory);

	if (r)
		return r;
	tree->fresh = false;
	return memcmp(tree->memory, superblock_of(tree), BSP_THIN_BLOCK) == 0;
}
