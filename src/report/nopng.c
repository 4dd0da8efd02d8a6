/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* png.c without the headers of cairo. */
#include "report/report.h"

#include <errno.h>

#include "base/error.h"

static bool png_load(GError **error)
{
	return bsp_error_set(error, BSP_ERROR_FAILED,
			     "png needs cairo, without which this library was "
			     "built; svg does not");
}

static int png_begin(struct bsp_report_output *out)
{
	return -EOPNOTSUPP;
}

const struct bsp_report_format bsp_report_png = {
	.name = "png",
	.granule = 1,
	.load = png_load,
	.begin = png_begin,
};
