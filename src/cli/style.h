/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Colours, on a terminal that has them and unless $NO_COLOR (no-color.org) is set. */
#pragma once

#include <stdbool.h>

enum style { STYLE_GOOD, STYLE_BAD, STYLE_DIM, STYLE_STRONG };

/* Of standard output. */
bool style_wanted(void);
/* `text` in that style when `wanted`; g_free it. */
char *style_paint(bool wanted, enum style style, const char *text);
