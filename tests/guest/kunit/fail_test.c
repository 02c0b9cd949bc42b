// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
#include <linux/kernel.h>
#include <linux/module.h>

#include "kunit.h"

static struct kunit_suite failing = {
	"failing",
	"    KTAP version 1\n    # Subtest: failing\n    1..2\n    ok 1 good\n"
	"    # bad: EXPECTATION FAILED at fail_test.c:7\n    Expected 1 == 2, but\n    not ok 2 bad\n"
	"not ok 1 failing\n",
};
kunit_test_suites(&failing);

static int __init start(void)
{
	kunit_run(all, ARRAY_SIZE(all), false);
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("suites of tests/boot/kunit.rs");
