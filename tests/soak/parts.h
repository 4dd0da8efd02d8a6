/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the main process: devices, drivers, and a round. */
#ifndef PARTS_H
#define PARTS_H

#include <sys/types.h>

#include "soak.h"

enum { GIVEN_DEVICES = 4 };

/* From the command line. */
struct settings {
	const char *fs;	   /* the program blksparsefs */
	const char *tools; /* the directory of losing-disk */
	const char *dir;   /* for all files */
	uint64_t seed, rounds, seconds, round_seconds, ops;
	uint64_t hang_seconds; /* an operation that takes longer hangs */
	bool modes[SOAK_READ + 1];
	bool nbd;	    /* use nbdkit */
	bool uring;	    /* requests must come by io_uring */
	bool flat;	    /* compare what the driver takes */
	bool memory;	    /* its memory as well */
	const char *cgroup; /* the driver runs in it */
	const char *given[GIVEN_DEVICES];
	unsigned givens;
	const char *faults; /* FAULTS on|off: of the given devices */
};

/* --- Devices (device.c) --- */

struct disk {
	int loop; /* or -1 */
	char path[256];
	pid_t server; /* losing-disk or nbdkit, or 0 */
	char point[256], trigger[256];
};

/* Makes a device that is filled from the dice, and begins the file's shadow. */
void disk_make(struct disk *disk, struct soak_file *file,
	       const struct settings *settings, unsigned number,
	       struct dice *dice);

/* Begins or ends faults. */
void disk_faults(const struct disk *disk, const struct soak_file *file,
		 const struct settings *settings, bool on, struct dice *dice);
void disk_cut(const struct disk *disk);

/* Reads all bytes of the device, past the driver. */
void disk_read(const struct disk *disk, const struct soak_file *file,
	       unsigned char *bytes);

/* Whether the server of the disk still runs, as it must. ending: the driver may
 * have been killed. */
bool disk_is_well(const struct disk *disk, const struct soak_file *file,
		  bool ending);
void disk_end(struct disk *disk);

/* --- The driver (driver.c) --- */

struct driver {
	pid_t pid; /* or 0 */
	char point[256], log[256];
};

struct sample {
	uint64_t threads, descriptors, memory; /* KiB */
};

void driver_start(struct driver *driver, const struct settings *settings,
		  const struct soak *soak, const char *name,
		  const char *options);
bool driver_runs(struct driver *driver);
struct sample driver_sample(const struct driver *driver);

/* These return whether all is well, and print what is not. */
bool driver_unmount(struct driver *driver, bool by_signal);
bool driver_kill(struct driver *driver);

void run_program(const char *what, char *const *args);
pid_t start_program(const struct settings *settings, char *const *args,
		    const char *log, bool is_driver);
bool wait_for(pid_t pid, unsigned seconds, int *status);
bool is_mounted(const char *point);
void print_file(const char *path);

/* --- A round (control.c) --- */

/* Returns whether the round found no fault. */
bool run_round(const struct settings *settings, struct soak *soak,
	       uint64_t seed);

#endif
