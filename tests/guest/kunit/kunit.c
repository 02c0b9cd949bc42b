// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* A module that takes the place of KUnit, which Debian's kernels do not have: it prints the logs of suites. */

#include <linux/module.h>
#include <linux/string.h>

#include "kunit.h"

static bool enable;
module_param(enable, bool, 0);
MODULE_PARM_DESC(enable, "run suites");

void kunit_run(struct kunit_suite **suites, unsigned int count, bool fault)
{
	unsigned int at;

	if (!enable) {
		pr_info("kunit: disabled\n");
		return;
	}
	pr_info("KTAP version 1\n");
	pr_info("1..%u\n", count);
	for (at = 0; at < count; at++) {
		const char *line = suites[at]->log;

		while (*line) {
			int length = strcspn(line, "\n");

			pr_info("%.*s\n", length, line);
			line += length + (line[length] == '\n');
		}
	}
	if (fault)
		*(volatile int *)NULL = 1;
}
EXPORT_SYMBOL_GPL(kunit_run);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("takes the place of KUnit");
