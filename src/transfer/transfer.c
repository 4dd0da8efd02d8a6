/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transfer/transfer.h"

#include "base/error.h"

bool bsp_transfer_begin(struct bsp_transfer *t,
			const struct bsp_transfer_options *options,
			struct bsp_progress *ret_progress, GError **error)
{
	static const struct bsp_transfer_options defaults;

	t->options = options ? options : &defaults;
	t->progress = ret_progress ? ret_progress : &t->ignored;
	t->error = error;
	*t->progress = (struct bsp_progress){ 0 };
	return bsp_error_check_reserved(t->options->reserved,
					G_N_ELEMENTS(t->options->reserved),
					error);
}

bool bsp_transfer_is_interrupted(const struct bsp_transfer *t)
{
	return t->options->interrupted &&
	       t->options->interrupted(t->options->data);
}

void bsp_transfer_report(const struct bsp_transfer *t,
			 const struct bsp_progress *progress)
{
	if (t->options->progress)
		t->options->progress(t->options->data, progress);
}

bool bsp_transfer_interrupted(const struct bsp_transfer *t)
{
	return bsp_error_set(t->error, BSP_ERROR_INTERRUPTED, "interrupted");
}
