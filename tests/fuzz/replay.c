/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In the place of libFuzzer where there is none: each file given, once, and
 * then each of them cut short and with each of its bytes changed.
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
