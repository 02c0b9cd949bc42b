// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
#include <linux/kernel.h>
#include <linux/module.h>

#include "kunit.h"

static struct kunit_suite alpha = {
	"alpha",
	"    KTAP version 1\n    # Subtest: alpha\n    # module: pass_test\n    1..2\n"
	"    ok 1 first\n    ok 2 second # SKIP no device\n# alpha: pass:1 fail:0 skip:1 total:2\nok 1 alpha\n",
};
static struct kunit_suite beta = {
	"beta suite",
	"    KTAP version 1\n    # Subtest: beta suite\n    1..1\n"
	"        KTAP version 1\n        # Subtest: parameters\n        ok 1 low\n        ok 2 high\n"
	"    ok 1 parameters\nok 2 beta suite\n",
};
kunit_test_suites(&alpha, &beta);

static int __init start(void)
{
	kunit_run(all, ARRAY_SIZE(all), false);
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("suites of tests/boot/kunit.rs");
