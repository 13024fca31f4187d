/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/style.h"
#include "src/cli/output.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/banned.h"

bool style_wanted(void)
{
	const char *terminal = getenv("TERM"), *no_colour = getenv("NO_COLOR");

	return output_is_terminal() && !(no_colour && *no_colour) && terminal && strcmp(terminal, "dumb") != 0;
}

char *style_paint(bool wanted, enum style style, const char *text)
{
	static const char *const codes[] = {
		[STYLE_GOOD] = "32", [STYLE_BAD] = "31", [STYLE_DIM] = "2", [STYLE_STRONG] = "1"};

	return wanted ? g_strdup_printf("\033[%sm%s\033[0m", codes[style], text) : g_strdup(text);
}
