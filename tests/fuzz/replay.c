/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A replacement for libFuzzer where there is none. It runs the fuzz target on
 * each file given, then on each file truncated at every length, and with every
 * byte changed.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t bytes[1 << 16];

static void replay(size_t len)
{
	static const uint8_t changes[] = { 0x01, 0x80, 0xff, 0x20 };

	LLVMFuzzerTestOneInput(bytes, len);
	for (size_t cut = 0; cut < len; cut++)
		LLVMFuzzerTestOneInput(bytes, cut);
	for (size_t i = 0; i < len * sizeof(changes); i++) {
		bytes[i / sizeof(changes)] ^= changes[i % sizeof(changes)];
		LLVMFuzzerTestOneInput(bytes, len);
		bytes[i / sizeof(changes)] ^= changes[i % sizeof(changes)];
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "r");

		if (!file) {
			perror(argv[i]);
			return 1;
		}
		replay(fread(bytes, 1, sizeof(bytes), file));
		fclose(file);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
