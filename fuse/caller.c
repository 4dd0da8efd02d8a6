/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a killed thread shows in /proc, by proc(5) and the kernel's source:
 *
 * - Until it takes the signal, SIGKILL is pending for it. complete_signal() in
 *   kernel/signal.c gives SIGKILL to each thread for any signal that will end
 *   the process. A signal that dumps core is the exception; it is pending as
 *   itself.
 * - Then it exits and closes its files. A signal that was sent to the whole
 *   process stays pending for the process, as get_signal() removes only the
 *   thread's own SIGKILL. The thread that dumps core keeps the flag
 *   PF_DUMPCORE. After any other death, such as by cgroup.kill, only the exit
 *   code tells. A process that may trace the caller can read the exit code
 *   (PTRACE_MODE_READ_FSCREDS); others read 0. A flush is then done in full, as
 *   if the process had ended by itself. That is why this program does well
 *   without CAP_SYS_PTRACE.
 * - A thread that another thread ended by exit_group(2) has SIGKILL pending
 *   while it lives. While it exits it looks killed (PF_SIGNALED), although its
 *   process ends by itself.
 */
#include "caller.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	LOOK_MS = 100,
	/* From the kernel's include/linux/sched.h: */
	FLAG_EXITING = 0x4,    /* PF_EXITING */
	FLAG_DUMPED = 0x200,   /* PF_DUMPCORE */
	FLAG_SIGNALED = 0x400, /* PF_SIGNALED */
	/* Fields of /proc/TID/stat, counted from 1. */
	FIELD_STATE = 3,
	FIELD_FLAGS = 9,
	FIELD_EXIT_CODE = 52,
	EXIT_SIGNAL = 0x7f, /* the signal in an exit code; see wait(2) */
};

/* A signal's bit in the sets of /proc. */
#define BIT(sig) (UINT64_C(1) << (-1 + (sig)))

/* Signals that end a process with a core dump by default. */
static const uint64_t core_signals =
	BIT(SIGQUIT) | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGABRT) | BIT(SIGFPE) |
	BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGSYS) | BIT(SIGXCPU) | BIT(SIGXFSZ);

/* Fields of /proc/TID/status. */
struct proc_status {
	uint64_t pending, shared; /* of the thread, of its process */
	uint64_t blocked, ignored, caught;
	unsigned long tracer;
};

/* Fields of /proc/TID/stat. */
struct proc_stat {
	unsigned long flags;
	unsigned long exit_code;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static FILE *open_proc_file(pid_t tid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
	return fopen(path, "re");
}

static bool starts_with(const char *line, const char *name)
{
	return strncmp(line, name, strlen(name)) == 0;
}

static void parse_status_line(struct proc_status *status, const char *line)
{
	const struct {
		const char *name;
		uint64_t *set;
	} sets[] = {
		{ "SigPnd:", &status->pending },
		{ "ShdPnd:", &status->shared },
		{ "SigBlk:", &status->blocked },
		{ "SigIgn:", &status->ignored },
		{ "SigCgt:", &status->caught },
	};

	if (starts_with(line, "TracerPid:"))
		status->tracer = strtoul(line + strlen("TracerPid:"), NULL, 10);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (starts_with(line, sets[i].name))
			*sets[i].set =
				strtoull(line + strlen(sets[i].name), NULL, 16);
	}
}

static bool read_proc_status(pid_t tid, struct proc_status *ret)
{
	FILE *file = open_proc_file(tid, "status");
	char *line = NULL;
	size_t size = 0;

	memset(ret, 0, sizeof(*ret));
	if (!file)
		return false;
	while (getline(&line, &size, file) >= 0)
		parse_status_line(ret, line);
	free(line);
	(void)fclose(file);
	return true;
}

/* The fields follow the program's name, which is in parentheses and may contain
 * any bytes. */
static bool read_proc_stat(pid_t tid, struct proc_stat *ret)
{
	FILE *file = open_proc_file(tid, "stat");
	char text[2048];
	char *field, *rest = NULL;
	size_t n;

	memset(ret, 0, sizeof(*ret));
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	text[n] = '\0';
	field = strrchr(text, ')');
	if (!field)
		return false;
	field = strtok_r(field + 1, " ", &rest);
	for (int i = FIELD_STATE; field; i++) {
		if (i == FIELD_FLAGS)
			ret->flags = strtoul(field, NULL, 10);
		if (i == FIELD_EXIT_CODE)
			ret->exit_code = strtoul(field, NULL, 10);
		field = strtok_r(NULL, " ", &rest);
	}
	return true;
}

/* The kernel numbers the caller as in the mount's pid namespace, which is this
 * program's. If /proc shows an outer namespace, that number belongs to another
 * thread there, and this program has two numbers. */
static bool proc_is_ours(void)
{
	FILE *file = open_proc_file(getpid(), "status");
	unsigned long number = 0;
	char *line = NULL, *end;
	size_t size = 0;
	bool ours = false;

	while (file && getline(&line, &size, file) >= 0) {
		if (!starts_with(line, "NSpid:"))
			continue;
		number = strtoul(line + strlen("NSpid:"), &end, 10);
		ours = number == (unsigned long)getpid() && *end == '\n';
	}
	free(line);
	if (file)
		(void)fclose(file);
	return ours;
}

/* The signals of a set that end the process. A debugger may intercept each of
 * them but SIGKILL. */
static uint64_t fatal(const struct proc_status *status, uint64_t set)
{
	uint64_t deadly =
		core_signals | BIT(SIGTERM) | BIT(SIGINT) | BIT(SIGHUP);
	uint64_t kept = status->blocked | status->ignored | status->caught;

	return set & (BIT(SIGKILL) | (status->tracer ? 0 : deadly & ~kept));
}

static bool is_look_due(struct caller *caller)
{
	uint64_t now = now_ns();

	if (caller->tid <= 0 || now < caller->look_ns)
		return false;
	caller->look_ns = now + (uint64_t)LOOK_MS * 1000000;
	return proc_is_ours();
}

void caller_init(struct caller *caller, pid_t tid, bool at_once)
{
	caller->tid = tid;
	caller->look_ns =
		now_ns() + (at_once ? 0 : (uint64_t)LOOK_MS * 1000000);
}

bool caller_is_killed(struct caller *caller)
{
	struct proc_stat stat;
	struct proc_status status;

	if (!is_look_due(caller) || !read_proc_stat(caller->tid, &stat) ||
	    !read_proc_status(caller->tid, &status))
		return false;
	if (!(stat.flags & FLAG_EXITING))
		return fatal(&status, status.pending | status.shared);
	return (stat.exit_code & EXIT_SIGNAL) || (stat.flags & FLAG_DUMPED) ||
	       ((stat.flags & FLAG_SIGNALED) && fatal(&status, status.shared));
}

bool caller_has_signal(struct caller *caller)
{
	struct proc_status status;

	return is_look_due(caller) && read_proc_status(caller->tid, &status) &&
	       ((status.pending | status.shared) & ~status.blocked);
}

bool caller_is_gone(const struct caller *caller)
{
	return caller->tid > 0 && kill(caller->tid, 0) < 0 && errno == ESRCH;
}
