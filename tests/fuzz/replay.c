/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a fuzz target over files and folders: a corpus becomes an ordinary test, with any compiler. */
#include "tests/fuzz/fuzz.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/banned.h"

static unsigned replay(const char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	g_autoptr(GError) error = NULL;
	g_autofree char *content = NULL;
	g_autofree uint8_t *data = NULL;
	unsigned files = 0;
	gsize length;

	for (const char *name; dir && (name = g_dir_read_name(dir));) {
		g_autofree char *inner = g_build_filename(path, name, NULL);

		files += replay(inner);
	}
	if (dir)
		return files;
	if (!g_file_get_contents(path, &content, &length, &error)) {
		fprintf(stderr, "%s\n", error->message);
		exit(EXIT_FAILURE);
	}
	/* Without the NUL that GLib puts behind it. */
	data = g_memdup2(content, length);
	fprintf(stderr, "%s\n", path); /* the last line before a crash says where */
	LLVMFuzzerTestOneInput(data, length);
	return 1;
}

int main(int argc, char **argv)
{
	unsigned files = 0;

	for (int i = 1; i < argc; i++)
		files += replay(argv[i]);
	printf("%u files\n", files);
	return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
