// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
#include <linux/kernel.h>
#include <linux/module.h>

#include "kunit.h"

static struct kunit_suite before = {
	"before", "    KTAP version 1\n    # Subtest: before\n    1..1\n    ok 1 early\nok 1 before\n",
};
static struct kunit_suite crashing = {
	"crashing", "    KTAP version 1\n    # Subtest: crashing\n    1..2\n    ok 1 calm\n",
};
kunit_test_suites(&before, &crashing);

static int __init start(void)
{
	kunit_run(all, ARRAY_SIZE(all), true);
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("suites of tests/boot/kunit.rs");
