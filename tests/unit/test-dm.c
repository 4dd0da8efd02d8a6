/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of the device mapper: the kernel's answers, the check of stacks, and
 * the layers that pass questions on. A question that goes to a wrong offset
 * would find holes where data is.
 *
 * The answers of the ioctls are this file's, and a folder in /tmp is the part
 * of sysfs for the devices 253:0 to 253:7. The one with a file "loop" has a
 * fake layer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/dm-table.h"
#include "device/dm.h"
#include "device/known-thin.h"
#include "device/known.h"
#include "unit.h"

enum {
	MAJOR = 253,
	DEVICES = 8,
	TARGETS_MAX = 4,
	CONTROL = 1000, /* a descriptor that no test has */
	FAR = 1 << 30,
};

struct target {
	uint64_t start, len;
	const char *type, *params;
};

/* The answers of the device mapper about a device. */
static struct device {
	struct target target[TARGETS_MAX];
	unsigned n;
	bool suspended;
} devices[DEVICES];

static struct {
	int error;	     /* of all ioctls */
	uint32_t room;	     /* a shorter buffer is too small */
	uint32_t cut;	     /* so many bytes fewer are there */
	uint32_t data_start; /* another than the right one */
	uint32_t flags;	     /* of the last question */
	unsigned asked;
	bool has_control;
} mapper;

static char folder[] = "/tmp/test-dm.XXXXXX";

static dev_t rdev_of(unsigned i)
{
	return makedev(MAJOR, i);
}

/* --- In place of the kernel --- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	g_autofree char *below = NULL;
	unsigned maj, min;

	if (strcmp(path, "/dev/mapper/control") == 0) {
		errno = ENOENT;
		return mapper.has_control ? __real_open64("/dev/null", flags)
					  : -1;
	}
	if (sscanf(path, "/sys/dev/block/%u:%u", &maj, &min) != 2)
		return __real_open64(path, flags);
	below = g_strdup_printf("%s/%u", folder, maj == MAJOR ? min : DEVICES);
	return __real_open64(below, flags);
}

static void answer_table(struct dm_ioctl *answer)
{
	const struct device *device = &devices[minor(answer->dev)];
	char *bytes = (char *)answer;
	size_t at = sizeof(*answer);

	mapper.flags = answer->flags;
	answer->data_start = mapper.data_start ? mapper.data_start
					       : (uint32_t)sizeof(*answer);
	answer->target_count = device->n;
	for (unsigned i = 0; i < device->n; i++) {
		const struct target *target = &device->target[i];
		size_t len = strlen(target->params) + 1;
		struct dm_target_spec spec = { .sector_start = target->start,
					       .length = target->len };

		spec.next = (uint32_t)((at + sizeof(spec) + len + 7) / 8 * 8 -
				       sizeof(*answer));
		(void)g_strlcpy(spec.target_type, target->type,
				sizeof(spec.target_type));
		memcpy(bytes + at, &spec, sizeof(spec));
		memcpy(bytes + at + sizeof(spec), target->params, len);
		at = sizeof(*answer) + spec.next;
	}
	answer->data_size = (uint32_t)at - mapper.cut;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct dm_ioctl *answer;
	va_list args;

	va_start(args, request);
	answer = va_arg(args, struct dm_ioctl *);
	va_end(args);
	mapper.asked++;
	errno = mapper.error;
	if (mapper.error)
		return -1;
	assert_int_equal(major(answer->dev), MAJOR);
	if (request == DM_DEV_STATUS)
		answer->flags = devices[minor(answer->dev)].suspended
					? DM_SUSPEND_FLAG
					: 0;
	else if (request != DM_TABLE_STATUS)
		fail_msg("another ioctl");
	else if (answer->data_size < mapper.room)
		answer->flags |= DM_BUFFER_FULL_FLAG;
	else
		answer_table(answer);
	return 0;
}

static void put(const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);
	g_autofree char *above = g_path_get_dirname(path);

	assert_int_equal(g_mkdir_with_parents(above, 0700), 0);
	assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* Makes the folder of a device, with a file for its kind: "dm" or "loop". */
static void add_device(unsigned i, const char *kind)
{
	g_autofree char *number = g_strdup_printf("%u/dev", i);
	g_autofree char *is = g_strdup_printf("%u/%s/name", i, kind);
	g_autofree char *size = g_strdup_printf("%u/size", i);
	g_autofree char *name = g_strdup_printf("%s%u\n", kind, i);
	g_autofree char *text = g_strdup_printf("%d:%u\n", MAJOR, i);

	put(number, text);
	put(is, name);
	put(size, "2048\n");
}

/* Device i lies on device j. */
static void put_on(unsigned i, unsigned j)
{
	g_autofree char *slaves = g_strdup_printf("%s/%u/slaves", folder, i);
	g_autofree char *link = g_strdup_printf("%s/%u", slaves, j);
	g_autofree char *to = g_strdup_printf("../../%u", j);

	assert_int_equal(g_mkdir_with_parents(slaves, 0700), 0);
	assert_int_equal(symlink(to, link), 0);
}

static void set_table(unsigned i, unsigned n, const struct target *targets)
{
	devices[i].n = n;
	memcpy(devices[i].target, targets, n * sizeof(*targets));
}

/* A table of one target. */
static void set_target(unsigned i, const char *type, const char *params)
{
	set_table(i, 1, &(struct target){ 0, 2048, type, params });
}

static int set_up(void **state)
{
	memset(devices, 0, sizeof(devices));
	memset(&mapper, 0, sizeof(mapper));
	mapper.has_control = true;
	(void)g_strlcpy(folder, "/tmp/test-dm.XXXXXX", sizeof(folder));
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);

	return system(command);
}

/* --- The kernel's answers --- */

static const struct target two[] = {
	{ 0, 8, "linear", "8:1 2048" },
	{ 8, 4096, "crypt", "aes-xts a key of any length 0 8:1 0" },
};

static void targets_are_those_of_the_table_in_order(void **state)
{
	g_autoptr(GArray) targets = NULL;

	set_table(0, 2, two);
	targets = bsp_dm_targets(CONTROL, rdev_of(0), NULL);
	assert_non_null(targets);
	assert_int_equal(targets->len, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct bsp_dm_target *target =
			&g_array_index(targets, struct bsp_dm_target, i);

		assert_int_equal(target->start, two[i].start);
		assert_int_equal(target->len, two[i].len);
		assert_string_equal(target->type, two[i].type);
		assert_string_equal(target->params, two[i].params);
	}
	assert_true(mapper.flags & DM_STATUS_TABLE_FLAG);
}

static void a_status_is_asked_for_without_the_flag_of_tables(void **state)
{
	g_autoptr(GArray) targets = NULL;

	set_target(0, "thin", "128 1023");
	targets = bsp_dm_status(CONTROL, rdev_of(0));
	assert_non_null(targets);
	assert_int_equal(targets->len, 1);
	assert_false(mapper.flags & DM_STATUS_TABLE_FLAG);
}

static uint64_t hash(void)
{
	return bsp_dm_table_hash(CONTROL, rdev_of(0));
}

static void a_hash_is_that_of_all_of_the_table(void **state)
{
	struct target other[2];
	uint64_t first;

	assert_int_equal(hash(), 0);
	set_table(0, 2, two);
	first = hash();
	assert_int_not_equal(first, 0);
	assert_int_equal(hash(), first);
	for (unsigned i = 0; i < 4; i++) {
		memcpy(other, two, sizeof(two));
		other[1].start += i == 0;
		other[1].len += i == 1;
		other[1].type = i == 2 ? "flakey" : other[1].type;
		other[1].params = i == 3 ? "aes-xts a key of any length 0 8:1 1"
					 : other[1].params;
		set_table(0, 2, other);
		assert_int_not_equal(hash(), first);
	}
	set_table(0, 1, two);
	assert_int_not_equal(hash(), first);
	mapper.error = ENXIO;
	assert_int_equal(hash(), 0);
}

static void a_long_table_gets_a_larger_buffer(void **state)
{
	g_autoptr(GArray) targets = NULL;

	set_table(0, 2, two);
	mapper.room = 1 << 20;
	targets = bsp_dm_targets(CONTROL, rdev_of(0), NULL);
	assert_non_null(targets);
	assert_int_equal(targets->len, 2);
	assert_int_equal(mapper.asked, 4);
	mapper.room = 1 << 30;
	assert_null(bsp_dm_targets(CONTROL, rdev_of(0), NULL));
	assert_int_equal(errno, E2BIG);
}

static void an_answer_that_is_cut_off_is_an_error(void **state)
{
	size_t whole = sizeof(struct dm_target_spec) + strlen(two[0].params);

	set_table(0, 1, two);
	for (mapper.cut = 8; mapper.cut < whole; mapper.cut++) {
		assert_null(bsp_dm_targets(CONTROL, rdev_of(0), NULL));
		assert_int_equal(errno, EPROTO);
	}
	mapper.cut = 0;
	mapper.data_start = UINT32_MAX;
	assert_null(bsp_dm_targets(CONTROL, rdev_of(0), NULL));
	assert_int_equal(errno, EPROTO);
	mapper.error = ENXIO;
	assert_null(bsp_dm_targets(CONTROL, rdev_of(0), NULL));
	assert_int_equal(errno, ENXIO);
}

static void a_device_that_cannot_be_asked_counts_as_suspended(void **state)
{
	assert_false(bsp_dm_is_suspended(CONTROL, rdev_of(0)));
	devices[0].suspended = true;
	assert_true(bsp_dm_is_suspended(CONTROL, rdev_of(0)));
	devices[0].suspended = false;
	mapper.error = ENXIO;
	assert_true(bsp_dm_is_suspended(CONTROL, rdev_of(0)));
}

static void a_volume_is_thin_if_all_of_it_is(void **state)
{
	const struct target mixed[] = { { 0, 8, "thin", "253:1 1" },
					{ 8, 8, "linear", "8:1 0" } };

	assert_false(bsp_dm_is_thin(rdev_of(0)));
	set_target(0, "thin", "253:1 1");
	assert_true(bsp_dm_is_thin(rdev_of(0)));
	set_table(0, 2, mixed);
	assert_false(bsp_dm_is_thin(rdev_of(0)));
	set_target(0, "thin", "253:1 1");
	mapper.has_control = false;
	assert_false(bsp_dm_is_thin(rdev_of(0)));
}

/* --- Stacks --- */

/* A linear device 0, a thin volume 1, its pool 2, and that one's devices 3
 * and 4. */
static void make_stack(const char *pool)
{
	for (unsigned i = 0; i < 5; i++)
		add_device(i, "dm");
	put_on(0, 1);
	put_on(1, 2);
	put_on(2, 3);
	put_on(2, 4);
	set_target(0, "linear", "253:1 0");
	set_target(1, "thin", "253:2 1");
	set_target(2, "thin-pool", pool);
	set_target(3, "linear", "8:1 0");
	set_target(4, "linear", "8:2 0");
}

static void refused(unsigned i, const char *why)
{
	g_autoptr(GError) error = NULL;

	assert_false(bsp_dm_check_stack("/dev/x", rdev_of(i), &error));
	assert_non_null(error);
	assert_non_null(strstr(error->message, "/dev/x"));
	if (!strstr(error->message, why))
		fail_msg("\"%s\" is not in: %s", why, error->message);
}

static void allowed(unsigned i)
{
	g_autoptr(GError) error = NULL;

	if (!bsp_dm_check_stack("/dev/x", rdev_of(i), &error))
		fail_msg("%s", error->message);
}

static void a_pool_that_does_not_zero_is_found_below_any_device(void **state)
{
	make_stack("253:3 253:4 128 0 1 skip_block_zeroing");
	refused(0, "the thin pool dm2, which does not zero new blocks");
	refused(1, "the thin pool dm2, which does not zero new blocks");
	/* The pool itself, and what is below it, have no such zeros. */
	allowed(2);
	allowed(3);
}

static void a_pool_that_zeroes_is_allowed(void **state)
{
	make_stack("253:3 253:4 128 0 1 error_if_no_space");
	allowed(0);
	allowed(1);
}

static void a_stack_that_cannot_be_asked_about_is_refused(void **state)
{
	make_stack("253:3 253:4 128 0 0");
	mapper.error = EACCES;
	refused(1, "cannot be asked: Permission denied");
	mapper.error = 0;
	mapper.has_control = false;
	refused(1, "cannot be asked: No such file");
	/* Nothing has to be asked about a device that is not made of others. */
	allowed(3);
	add_device(7, "loop");
	allowed(7);
}

/* --- Layers --- */

/* In place of a loop device: all of [zeros_from, zeros_to) is zero. */
static struct {
	uint64_t off, limit; /* of the last question */
	uint64_t zeros_from, zeros_to;
	int build_error;
	bool other;
	uint64_t stamp; /* 0: must not be asked for */
	unsigned freed;
} fake;

struct bsp_layer *__wrap_bsp_layer_loop_new(dev_t rdev,
					    enum bsp_known_trust trust);

static struct bsp_known_answer fake_ask(struct bsp_layer *layer, uint64_t off,
					uint64_t limit)
{
	bool zeros = off >= fake.zeros_from && off < fake.zeros_to;
	uint64_t end = zeros		       ? fake.zeros_to
		       : off < fake.zeros_from ? fake.zeros_from
					       : limit;

	fake.off = off;
	fake.limit = limit;
	return (struct bsp_known_answer){ zeros, MIN(end, limit) };
}

static int fake_build(struct bsp_layer *layer, int64_t since)
{
	return fake.build_error;
}

static bool fake_is_same(struct bsp_layer *layer, enum bsp_depth depth)
{
	return !fake.other;
}

static uint64_t fake_content(struct bsp_layer *layer, uint64_t value)
{
	if (!fake.stamp)
		fail_msg("the stamp of the device below does not count");
	return value + fake.stamp;
}

static void fake_free(struct bsp_layer *layer)
{
	fake.freed++;
	g_free(layer->name);
	g_free(layer);
}

static const struct bsp_layer_ops fake_ops = {
	.build = fake_build,
	.ask = fake_ask,
	.is_same = fake_is_same,
	.content = fake_content,
	.free = fake_free,
	.answers = true,
};

struct bsp_layer *__wrap_bsp_layer_loop_new(dev_t rdev,
					    enum bsp_known_trust trust)
{
	struct bsp_layer *layer = g_new0(struct bsp_layer, 1);

	layer->ops = &fake_ops;
	layer->name = g_strdup("fake");
	return layer;
}

static struct bsp_layer *new_layer(void)
{
	static unsigned left;
	struct bsp_layer_use use = { .trust = BSP_KNOWN_AUTO, .left = &left };

	left = 100;
	memset(&fake, 0, sizeof(fake));
	return bsp_layer_new(rdev_of(0), &use, 0);
}

static void asks(struct bsp_layer *layer, uint64_t off, uint64_t limit,
		 bool zeros, uint64_t end)
{
	struct bsp_known_answer answer = layer->ops->ask(layer, off, limit);

	assert_int_equal(answer.zeros, zeros);
	assert_int_equal(answer.end, end);
}

/* Sectors 0 to 8 lie on sector 100 of the loop device, 8 to 16 on nothing that
 * is known, and 16 to 48 on its sector 4. */
static struct bsp_layer *new_parts(void)
{
	static const struct target parts[] = {
		{ 0, 8, "linear", "253:7 100" },
		{ 8, 8, "error", "" },
		{ 16, 32, "linear", "253:7 4" },
	};

	add_device(0, "dm");
	add_device(7, "loop");
	set_table(0, 3, parts);
	return new_layer();
}

static void a_question_goes_to_the_offset_of_its_part(void **state)
{
	struct bsp_layer *layer = new_parts();

	assert_non_null(layer);
	assert_int_equal(layer->ops->build(layer, 0), 0);
	fake.zeros_from = 10 * 512;
	fake.zeros_to = 102 * 512;
	/* The answer ends with the zeros of the layer below, ... */
	asks(layer, 0, FAR, true, 2 * 512);
	assert_int_equal(fake.off, 100 * 512);
	assert_int_equal(fake.limit, 108 * 512);
	/* ... with the part, ... */
	asks(layer, 3 * 512, FAR, false, 8 * 512);
	/* ... where nothing is known, ... */
	asks(layer, 9 * 512, FAR, false, 16 * 512);
	asks(layer, 20 * 512, FAR, false, 22 * 512);
	assert_int_equal(fake.off, 8 * 512);
	asks(layer, 22 * 512, FAR, true, 48 * 512);
	assert_int_equal(fake.limit, 36 * 512);
	/* ... or with the question. */
	asks(layer, 22 * 512, 30 * 512, true, 30 * 512);
	assert_int_equal(fake.limit, 18 * 512);
	/* Past the table nothing is known. */
	asks(layer, 48 * 512, FAR, false, FAR);
	bsp_layer_free(layer);
	assert_int_equal(fake.freed, 2);
}

static void a_part_whose_layer_cannot_be_built_is_silent(void **state)
{
	struct bsp_layer *layer = new_parts();

	assert_non_null(layer);
	fake.zeros_to = FAR;
	fake.build_error = -EAGAIN;
	assert_int_equal(layer->ops->build(layer, 0), -EAGAIN);
	fake.build_error = -EIO;
	assert_int_equal(layer->ops->build(layer, 0), -ENODATA);
	asks(layer, 0, FAR, false, 8 * 512);
	fake.build_error = 0;
	assert_int_equal(layer->ops->build(layer, 0), 0);
	asks(layer, 0, FAR, true, 8 * 512);
	bsp_layer_free(layer);
}

static void another_table_is_another_layer(void **state)
{
	struct bsp_layer *layer = new_parts();

	assert_non_null(layer);
	assert_true(layer->ops->is_same(layer, BSP_DEPTH_ALL));
	fake.other = true;
	assert_false(layer->ops->is_same(layer, BSP_DEPTH_CHEAP));
	fake.other = false;
	devices[0].target[2].params = "253:7 5";
	assert_true(layer->ops->is_same(layer, BSP_DEPTH_CHEAP));
	assert_false(layer->ops->is_same(layer, BSP_DEPTH_ALL));
	bsp_layer_free(layer);
}

static void writes_to_other_volumes_below_do_not_count(void **state)
{
	struct bsp_layer *layer = new_parts();

	assert_non_null(layer);
	assert_int_equal(layer->ops->content(layer, 5), 5);
	assert_true(layer->ops->settled(layer));
	bsp_layer_free(layer);
}

static void a_table_of_which_nothing_is_known_has_no_layer(void **state)
{
	static const struct target targets[] = {
		{ 0, 8, "striped", "2 8 253:7 0 253:7 8" },
		{ 0, 8, "linear", "" },
		{ 0, 8, "linear", "/dev/loop7 0" },
		{ 0, 8, "linear", "253:6 0" }, /* is of no known kind */
		{ 0, 8, "thin", "" },
		{ 0, 8, "thin", "253:5 1 none" },
		{ 8, 8, "thin", "253:5 1" }, /* not from the start on */
		{ 0, 8, "thin", "253:6 1" }, /* without a table */
	};

	add_device(0, "dm");
	add_device(5, "dm");
	add_device(6, "other");
	add_device(7, "loop");
	set_target(5, "thin-pool", "253:3 253:4 128 0 0");
	assert_null(new_layer());
	for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
		set_table(0, 1, &targets[i]);
		assert_null(new_layer());
		assert_int_equal(fake.freed, 0);
	}
	mapper.error = EACCES;
	assert_null(new_layer());
	mapper.has_control = false;
	assert_null(new_layer());
}

/* A thin volume of 2 MiB with an external origin of 1 MiB, the loop device. */
static struct bsp_layer *new_thin(void)
{
	const struct target thin = { 0, 4096, "thin", "253:5 1 253:7" };
	struct bsp_layer *layer;

	add_device(0, "dm");
	add_device(5, "dm");
	add_device(7, "loop");
	set_table(0, 1, &thin);
	set_target(5, "thin-pool", "0 1/9 2/9 - rw");
	layer = new_layer();
	assert_non_null(layer);
	return layer;
}

static void an_unmapped_block_reads_as_the_origin(void **state)
{
	struct bsp_layer *layer = new_thin();

	set_target(0, "thin", "0 -"); /* the status: nothing is mapped */
	assert_int_equal(layer->ops->build(layer, g_get_monotonic_time()), 0);
	fake.zeros_from = 4096;
	fake.zeros_to = 8192;
	asks(layer, 0, FAR, false, 4096);
	asks(layer, 4096, FAR, true, 8192);
	asks(layer, 8192, FAR, false, 1 << 20);
	asks(layer, 1 << 20, FAR, true, 2 << 20);
	bsp_layer_free(layer);
	assert_int_equal(fake.freed, 1);
}

static void another_pool_or_origin_is_another_layer(void **state)
{
	struct bsp_layer *layer = new_thin();

	assert_true(layer->ops->is_same(layer, BSP_DEPTH_ALL));
	fake.other = true;
	assert_false(layer->ops->is_same(layer, BSP_DEPTH_CHEAP));
	fake.other = false;
	set_target(5, "thin-pool", "0 1/9 2/9 - ro");
	assert_true(layer->ops->is_same(layer, BSP_DEPTH_CHEAP));
	assert_false(layer->ops->is_same(layer, BSP_DEPTH_ALL));
	bsp_layer_free(layer);
}

static void a_write_to_the_origin_counts(void **state)
{
	struct bsp_layer *layer = new_thin();

	fake.stamp = 7;
	assert_int_equal(layer->ops->content(layer, 5), 12);
	assert_true(layer->ops->settled(layer));
	bsp_layer_free(layer);
}

/* --- Reasons --- */

static char *told;

static void tell(void *data, const char *path, const char *reason)
{
	assert_null(told);
	told = g_strdup_printf("%s: %s", path, reason);
}

/* Checks the reason why nothing is known of device 0. */
static void tells(const char *text)
{
	g_autoptr(GPtrArray) layers = bsp_layers_new();

	bsp_layers_add_device(layers, rdev_of(0));
	bsp_layers_list(layers, tell, NULL);
	assert_non_null(told);
	assert_string_equal(told, text);
	g_clear_pointer(&told, g_free);
}

static void add_line(void *data, const char *path, const char *reason)
{
	g_string_append_printf(data, "%s%s%s\n", path, reason ? ": " : "",
			       reason ? reason : "");
}

static void layers_are_listed_from_the_top(void **state)
{
	g_autoptr(GPtrArray) layers = bsp_layers_new();
	g_autoptr(GString) lines = g_string_new(NULL);
	struct bsp_layer *layer = new_thin();

	bsp_layer_set_paths(layer, NULL);
	bsp_layers_add(layers, layer);
	bsp_layers_list(layers, add_line, lines);
	assert_string_equal(lines->str, "dm0 → thin volume 1 of dm5\n"
					"dm0 → thin volume 1 of dm5 → fake\n");
	bsp_layer_free(layer);
}

static void the_first_obstacle_is_named(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		add_device(i, "dm");
	add_device(6, "other");
	tells("dm0: its table is empty");
	set_target(0, "linear", "253:1 0");
	set_target(1, "linear", "253:2 8");
	set_target(2, "crypt", "aes 0 8:1 0");
	tells("dm0 → dm1 → dm2: nothing is known of the target crypt");
	set_target(2, "thin", "253:5 1");
	tells("dm0 → dm1 → dm2: its pool cannot be asked");
	set_target(2, "linear", "253:6 0");
	tells("dm0 → dm1 → dm2 → 253:6: no layer below it knows holes");
	set_target(0, "linear", "253:0 0");
	tells("dm0 → dm0 → dm0 → dm0 → dm0 → dm0 → dm0 → dm0 → dm0: "
	      "too many layers");
	mapper.error = ENXIO;
	tells("dm0: No such device or address");
	mapper.has_control = false;
	tells("dm0: /dev/mapper/control: No such file or directory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(targets_are_those_of_the_table_in_order),
		TEST(a_status_is_asked_for_without_the_flag_of_tables),
		TEST(a_hash_is_that_of_all_of_the_table),
		TEST(a_long_table_gets_a_larger_buffer),
		TEST(an_answer_that_is_cut_off_is_an_error),
		TEST(a_device_that_cannot_be_asked_counts_as_suspended),
		TEST(a_volume_is_thin_if_all_of_it_is),
		TEST(a_pool_that_does_not_zero_is_found_below_any_device),
		TEST(a_pool_that_zeroes_is_allowed),
		TEST(a_stack_that_cannot_be_asked_about_is_refused),
		TEST(a_question_goes_to_the_offset_of_its_part),
		TEST(a_part_whose_layer_cannot_be_built_is_silent),
		TEST(another_table_is_another_layer),
		TEST(writes_to_other_volumes_below_do_not_count),
		TEST(a_table_of_which_nothing_is_known_has_no_layer),
		TEST(an_unmapped_block_reads_as_the_origin),
		TEST(another_pool_or_origin_is_another_layer),
		TEST(a_write_to_the_origin_counts),
		TEST(layers_are_listed_from_the_top),
		TEST(the_first_obstacle_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
