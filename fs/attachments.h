/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .mailtree/attachments/: the tree of folders, with a directory for each message that holds its decoded attachments.
 *
 * Directories and files are objects (generated.h). A message is fetched when its directory is opened, or a name in it
 * is looked up; sizes are exact from then on.
 */
#pragma once

#include "fs/tree.h"

extern const struct tree attachments_tree;
