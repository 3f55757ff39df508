/* Buckets of pagers, and references to pagers.

   Every `void *port` below is a `struct pager *`: pagers are the only ports there are.  */

#ifndef ACTOR_PAGER_HURD_PORTS_H
#define ACTOR_PAGER_HURD_PORTS_H

#include <stdlib.h>
#include <mach.h>
#include <hurd.h>
#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A set of pagers that share threads.  */
struct port_bucket;

/* Make a bucket; null with errno set where that fails.  Its threads start with
   pager_start_workers, or else with its first pager.  */
struct port_bucket *ports_create_bucket (void);

/* How many pagers there are in BUCKET.  Nothing is blocked by asking.  */
int ports_count_bucket (struct port_bucket *bucket);

/* For programs that expect ports_count_bucket to block the making of pagers; does nothing.  */
void ports_enable_bucket (struct port_bucket *bucket);

/* Call FUN for every pager in BUCKET, until it returns an error, which is returned.  */
error_t ports_bucket_iterate (struct port_bucket *bucket, error_t (*fun) (void *port));

/* Let no request begin in BUCKET, and wait for those under way.  EBUSY where that is so already.
   Requests wait, none is refused.  */
error_t ports_inhibit_bucket_rpcs (struct port_bucket *bucket);

/* End what ports_inhibit_bucket_rpcs began.  */
void ports_resume_bucket_rpcs (struct port_bucket *bucket);

/* The name of PORT's port.  A send right can be made from it by mach_port_insert_right; it can
   be mapped at once.  The pager lives at least until that right, or the mapping, is gone: one from
   whose name neither was made never ends by itself.  */
mach_port_t ports_get_right (void *port);

/* The same, and a send right is made.  */
mach_port_t ports_get_send_right (void *port);

/* Count one reference more, or one less.  When there is none left, no send right and no mapping,
   all pages are written back and the pager ends.  */
void ports_port_ref (void *port);
void ports_port_deref (void *port);

/* The same for weak references, which do not keep a pager: when only they are left,
   pager_dropweak is asked to drop them.  */
void ports_port_ref_weak (void *port);
void ports_port_deref_weak (void *port);

#ifdef __cplusplus
}
#endif

#endif
