/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subcommands, one file each. argv[0] is the name of the subcommand. Each
 * returns the exit status.
 */
#ifndef COMMAND_H
#define COMMAND_H

int command_copy(int argc, char **argv);
int command_diff(int argc, char **argv);
int command_digest(int argc, char **argv);
int command_map(int argc, char **argv);
int command_recv(int argc, char **argv);
int command_send(int argc, char **argv);
int command_stat(int argc, char **argv);

#endif
