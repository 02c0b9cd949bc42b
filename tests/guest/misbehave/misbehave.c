// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/*
 * A kernel module that misbehaves on demand, for tests of what is said about it.
 *
 * `how=` at load time, or written to /sys/module/misbehave/parameters/how later, says in which way; what happens, happens in
 * the task that loads or writes. `init=` says what happens in the module's initialization. `seconds=` says for how long, where
 * that matters.
 */

#include <linux/completion.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>

static unsigned int seconds = 5;
module_param(seconds, uint, 0600);
MODULE_PARM_DESC(seconds, "how long to go on");

static char *at_init = "";
module_param_named(init, at_init, charp, 0400);
MODULE_PARM_DESC(init, "in which way at initialization");

static DECLARE_COMPLETION(never);
static struct rcu_head head;

static void spin_for(unsigned int wanted)
{
	u64 end = ktime_get_ns() + wanted * 1000000000ull;

	while (ktime_get_ns() < end)
		cpu_relax();
}

static noinline void read_null(void)
{
	READ_ONCE(*(volatile int *)8);
}

static noinline void read_nowhere(void)
{
	/* Not canonical: a general protection fault. */
	READ_ONCE(*(volatile int *)0x0123456789abcdefUL);
}

static void nothing(struct rcu_head *unused)
{
}

static noinline void wait_for_ever(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	/* Not even SIGKILL ends it. */
	wait_for_completion(&never);
}

static int misbehave(const char *how)
{
	if (sysfs_streq(how, "")) {
		return 0;
	} else if (sysfs_streq(how, "warn")) {
		WARN(1, "misbehave: this is what was asked for\n");
	} else if (sysfs_streq(how, "warn-bare")) {
		WARN_ON(1);
	} else if (sysfs_streq(how, "bug")) {
		BUG();
	} else if (sysfs_streq(how, "oops")) {
		read_null();
	} else if (sysfs_streq(how, "gpf")) {
		read_nowhere();
	} else if (sysfs_streq(how, "soft-lockup")) {
		preempt_disable();
		spin_for(seconds);
		preempt_enable();
	} else if (sysfs_streq(how, "hard-lockup")) {
		unsigned long flags;

		local_irq_save(flags);
		spin_for(seconds);
		local_irq_restore(flags);
	} else if (sysfs_streq(how, "rcu-stall")) {
		/* A grace period begins on another CPU, and waits for this one. */
		rcu_read_lock();
		preempt_disable();
		call_rcu(&head, nothing);
		spin_for(seconds);
		preempt_enable();
		rcu_read_unlock();
	} else if (sysfs_streq(how, "hung-task")) {
		/* For a while. */
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule_timeout(seconds * HZ);
	} else if (sysfs_streq(how, "unkillable")) {
		wait_for_ever();
	} else if (sysfs_streq(how, "bad-page")) {
		/* Pages of that order are looked at when they are given back. */
		struct page *page = alloc_pages(GFP_KERNEL, 4);

		if (!page)
			return -ENOMEM;
		page[0].mapping = (void *)0x100;
		__free_pages(page, 4);
	} else if (sysfs_streq(how, "page")) {
		/* Says nothing, but taints: B. */
		add_taint(TAINT_BAD_PAGE, LOCKDEP_STILL_OK);
	} else if (sysfs_streq(how, "talk")) {
		/* Harmless words of the kernel's own. */
		pr_info("BUG: this is at most information\n");
		pr_warn("misbehave: WARNING: a line that speaks of one\n");
		pr_err("misbehave: no BUG: here\n");
	} else {
		return -EINVAL;
	}
	return 0;
}

static int set_how(const char *how, const struct kernel_param *unused)
{
	return misbehave(how);
}

static const struct kernel_param_ops how_ops = { .set = set_how };
module_param_cb(how, &how_ops, NULL, 0200);
MODULE_PARM_DESC(how, "in which way");

static int __init misbehave_init(void)
{
	return misbehave(at_init);
}

static void __exit misbehave_exit(void)
{
	rcu_barrier();
}

module_init(misbehave_init);
module_exit(misbehave_exit);

MODULE_DESCRIPTION("Misbehaves on demand, for bootling's tests");
MODULE_LICENSE("Dual MIT/GPL");
