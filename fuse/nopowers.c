/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For builds without libcap-ng: the program keeps all capabilities. */
#include "powers.h"

bool powers_drop(bool sockets, GError **error)
{
	return true;
}
