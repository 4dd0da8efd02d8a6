#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A program closes the library while a thread of its own, which has read from an
# NBD server, goes on: the thread ends well.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$(dirname "$0")/../lib/nbd.sh"
requires gcc nbdkit pkg-config
[[ $("$TOOL" --version) == *+nbd* ]] || skip "built without NBD"

cd "$TEST_TMP"
cat >user.c <<'C'
#include <blksparse.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static void *library;
static const char *uri;
static pthread_barrier_t step;
static int failed = 1;

static bool go_on(void *data)
{
	return false;
}

/* With this callback the library keeps memory for the thread. */
static void scan(void)
{
	__typeof__(bsp_device_open) *device_open =
		dlsym(library, "bsp_device_open");
	__typeof__(bsp_sparse_new) *sparse_new =
		dlsym(library, "bsp_sparse_new");
	__typeof__(bsp_sparse_scan) *sparse_scan =
		dlsym(library, "bsp_sparse_scan");
	__typeof__(bsp_sparse_free) *sparse_free =
		dlsym(library, "bsp_sparse_free");
	struct bsp_device *dev = device_open(uri, NULL);
	struct bsp_sparse *sp = sparse_new(dev, NULL, NULL);

	if (!sp)
		return;
	failed = sparse_scan(sp, 0, UINT64_MAX, go_on, NULL, NULL);
	sparse_free(sp);
}

static void *thread_main(void *data)
{
	scan();
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	uri = argv[2];
	if (!library) {
		puts(dlerror());
		return 1;
	}
	pthread_barrier_init(&step, NULL, 2);
	if (pthread_create(&thread, NULL, thread_main, NULL))
		return 1;
	pthread_barrier_wait(&step);
	if (dlclose(library))
		return 1;
	pthread_barrier_wait(&step);
	pthread_join(thread, NULL);
	puts(failed ? "the scan failed" : "the thread has ended");
	return 0;
}
C
read -ra flags < <(pkg-config --cflags glib-2.0)
gcc -D_GNU_SOURCE -I"$SRC/include" "${flags[@]}" -o user user.c -pthread -ldl

truncate -s 4M image
nbd_start a unix nbdkit file image
run_status ./user "$BUILD/src/libblksparse.so" "$NBD"
assert_eq "$STATUS" 0 "status"
assert_eq "$OUT" "the thread has ended" "output"
