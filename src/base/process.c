/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/process.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

uint64_t process_open_fds(void)
{
	g_autoptr(GDir) fds = g_dir_open("/proc/self/fd", 0, NULL);
	uint64_t count = 0;

	while (fds && g_dir_read_name(fds))
		count++;
	/* without the one that looks */
	return count ? count - 1 : 0;
}

uint64_t process_resident_bytes(void)
{
	g_autofree char *text = NULL;
	const char *resident;

	/* in pages: all, resident, … */
	if (!g_file_get_contents("/proc/self/statm", &text, NULL, NULL) || !(resident = strchr(text, ' ')))
		return 0;
	return g_ascii_strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}
