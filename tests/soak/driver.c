/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts, watches and ends blksparsefs and other programs. */
#include "parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOUNT_SECONDS = 60, END_SECONDS = 120 };

/* --- Programs --- */

static void enter_cgroup(const char *cgroup)
{
	char path[300];
	FILE *procs;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	procs = fopen(path, "we");
	if (!procs || fprintf(procs, "0\n") < 0 || fclose(procs))
		soak_die(path);
}

pid_t start_program(const struct settings *settings, char *const *args,
		    const char *log, bool is_driver)
{
	pid_t pid = fork();
	int out;

	if (pid < 0)
		soak_die("fork");
	if (pid)
		return pid;
	out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		soak_die(log);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* ThreadSanitizer may fail with much randomness of addresses. */
	(void)personality(ADDR_NO_RANDOMIZE);
	if (is_driver && settings->cgroup)
		enter_cgroup(settings->cgroup);
	/* Each of many arenas would keep some of what was freed. */
	if (is_driver && settings->memory)
		(void)setenv("MALLOC_ARENA_MAX", "1", true);
	execvp(args[0], args);
	soak_die(args[0]);
}

bool wait_for(pid_t pid, unsigned seconds, int *status)
{
	int64_t end = soak_now_ns() + (int64_t)seconds * 1000000000;

	while (waitpid(pid, status, WNOHANG) == 0) {
		if (soak_now_ns() > end)
			return false;
		(void)usleep(2000);
	}
	return true;
}

bool is_mounted(const char *point)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[1024], where[512];
	bool found = false;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*s %*s %*s %511s", where) == 1 &&
		    strcmp(where, point) == 0)
			found = true;
	if (file)
		(void)fclose(file);
	return found;
}

void print_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024];
	unsigned lines = 0;

	while (file && fgets(line, sizeof(line), file) && lines++ < 200)
		fprintf(stderr, "  | %s", line);
	if (file)
		(void)fclose(file);
}

/* --- The driver --- */

static bool is_up(const struct driver *driver)
{
	struct stat st;

	return is_mounted(driver->point) && stat(driver->point, &st) == 0;
}

static void wait_until_up(struct driver *driver)
{
	for (unsigned i = 0; i < MOUNT_SECONDS * 100; i++) {
		if (!driver_runs(driver))
			break;
		if (is_up(driver))
			return;
		(void)usleep(10000);
	}
	print_file(driver->log);
	fprintf(stderr, "soak: blksparsefs does not mount\n");
	exit(2);
}

void driver_start(struct driver *driver, const struct settings *settings,
		  const struct soak *soak, const char *name,
		  const char *options)
{
	static char devices[SOAK_FILES][300];
	char *args[SOAK_FILES + 8], fs[256], text[512];
	int n = 0;

	(void)snprintf(driver->point, sizeof(driver->point), "%s/%s",
		       settings->dir, name);
	(void)snprintf(driver->log, sizeof(driver->log), "%s/%s.log",
		       settings->dir, name);
	(void)mkdir(driver->point, 0755);
	(void)unlink(driver->log);
	(void)snprintf(fs, sizeof(fs), "%s", settings->fs);
	(void)snprintf(text, sizeof(text), "%s", options);
	args[n++] = fs;
	args[n++] = (char[]){ "-f" };
	args[n++] = (char[]){ "-o" };
	args[n++] = text;
	for (unsigned i = 0; i < soak->files; i++) {
		const struct soak_file *file = &soak->file[i];

		if (strcmp(name, "reader") == 0 && !file->reader_path[0])
			continue;
		(void)snprintf(devices[i], sizeof(devices[i]), "%s=%s",
			       file->name, file->device);
		args[n++] = devices[i];
	}
	args[n++] = driver->point;
	args[n] = NULL;
	driver->pid = start_program(settings, args, driver->log, true);
	wait_until_up(driver);
}

bool driver_runs(struct driver *driver)
{
	int status;

	if (!driver->pid || waitpid(driver->pid, &status, WNOHANG) == 0)
		return driver->pid != 0;
	fprintf(stderr, "WRONG: blksparsefs ended with status %#x\n",
		(unsigned)status);
	print_file(driver->log);
	driver->pid = 0;
	return false;
}

static uint64_t entries(const char *path)
{
	DIR *dir = opendir(path);
	uint64_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	return n;
}

struct sample driver_sample(const struct driver *driver)
{
	struct sample sample = { 0 };
	char path[64], line[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", driver->pid);
	sample.descriptors = entries(path);
	(void)snprintf(path, sizeof(path), "/proc/%d/task", driver->pid);
	sample.threads = entries(path);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", driver->pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		(void)sscanf(line, "RssAnon: %" SCNu64, &sample.memory);
	if (file)
		(void)fclose(file);
	return sample;
}

static bool log_has(const struct driver *driver, const char *text)
{
	FILE *file = fopen(driver->log, "re");
	char line[1024];
	bool has = false;

	while (file && fgets(line, sizeof(line), file))
		has = has || strstr(line, text);
	if (file)
		(void)fclose(file);
	return has;
}

/* Whether a sanitizer has found no fault. */
static bool log_is_good(const struct driver *driver)
{
	bool good = !log_has(driver, "Sanitizer") &&
		    !log_has(driver, "runtime error");

	if (!good) {
		fprintf(stderr, "WRONG: a sanitizer found a fault\n");
		print_file(driver->log);
	}
	return good;
}

static void detach(const struct driver *driver)
{
	for (unsigned i = 0; i < 100 && is_mounted(driver->point); i++)
		(void)umount2(driver->point, MNT_FORCE | MNT_DETACH);
}

static bool ask_to_unmount(const struct driver *driver)
{
	for (unsigned i = 0; i < END_SECONDS * 50; i++) {
		if (umount2(driver->point, 0) == 0)
			return true;
		if (errno != EBUSY)
			break;
		(void)usleep(20000);
	}
	fprintf(stderr, "WRONG: umount: %s\n", strerror(errno));
	return false;
}

bool driver_unmount(struct driver *driver, bool by_signal)
{
	int status = 0;
	bool good = true;

	if (!driver->pid)
		return true;
	if (by_signal)
		(void)kill(driver->pid, SIGTERM);
	else
		good = ask_to_unmount(driver);
	if (good && !wait_for(driver->pid, END_SECONDS, &status)) {
		fprintf(stderr, "WRONG: blksparsefs does not end\n");
		good = false;
	} else if (good) {
		driver->pid = 0;
	}
	/* Another program, which runs beside this one, has made a mount
	 * namespace and so a copy of the mount. */
	if (by_signal && log_has(driver, "in the mount namespace of process"))
		status = 0;
	if (status) {
		fprintf(stderr, "WRONG: blksparsefs ended with status %#x\n",
			(unsigned)status);
		print_file(driver->log);
		good = false;
	}
	if (driver->pid)
		(void)driver_kill(driver);
	detach(driver);
	return log_is_good(driver) && good;
}

bool driver_kill(struct driver *driver)
{
	int status;

	if (driver->pid)
		(void)kill(driver->pid, SIGKILL);
	if (driver->point[0])
		detach(driver);
	if (!driver->pid)
		return true;
	if (!wait_for(driver->pid, END_SECONDS, &status)) {
		fprintf(stderr, "WRONG: blksparsefs cannot be killed\n");
		return false;
	}
	driver->pid = 0;
	return log_is_good(driver);
}
