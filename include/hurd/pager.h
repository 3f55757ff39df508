/* Pagers: memory whose pages this program supplies.

   The program defines the callbacks at the end of this file.  They are called from several threads
   at once, but never twice at a time for the same page.  They may block.  They may call the functions
   here; those that would have to wait for a callback return at once, with errno set to EDEADLK.

   Functions that return nothing set errno where they fail, and leave it alone otherwise.  */

#ifndef ACTOR_PAGER_HURD_PAGER_H
#define ACTOR_PAGER_HURD_PAGER_H

#include <hurd/ports.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One memory object, and what serves it.  */
struct pager;

/* The threads of a bucket.  */
struct pager_requests;

/* The program's own state of a pager; the library never looks into it.  */
struct user_pager_info;

/* Start the threads that serve the pagers of BUCKET.  On success *REQUESTS names them, otherwise it
   is null.  ACTOR_PAGER_WORKERS in the environment says how many threads call the callbacks.  */
error_t pager_start_workers (struct port_bucket *bucket, struct pager_requests **requests);

/* Wait until every request that was sent before is finished, its I/O too; later ones wait.
   EBUSY where that is so already.  */
error_t pager_inhibit_workers (struct pager_requests *requests);

/* Serve what waited, in order.  */
void pager_resume_workers (struct pager_requests *requests);

/* Make a pager with one reference.  U_PAGER is handed to every callback.  MAY_CACHE keeps pages
   when the last mapping goes.  NOTIFY_ON_EVICT asks for pager_notify_evict.  Null with errno set
   where that fails: ENOSYS if the program lacks a callback, which is named on standard error.  */
struct pager *pager_create (struct user_pager_info *u_pager, struct port_bucket *bucket,
                            boolean_t may_cache, memory_object_copy_strategy_t copy_strategy,
                            boolean_t notify_on_evict);

/* The same, with U_PAGER_SIZE bytes of zeros as the program's state, which go when the pager
   does.  */
struct pager *pager_create_alloc (size_t u_pager_size, struct port_bucket *bucket,
                                  boolean_t may_cache,
                                  memory_object_copy_strategy_t copy_strategy,
                                  boolean_t notify_on_evict);

/* The program's state.  */
struct user_pager_info *pager_get_upi (struct pager *pager);

/* Write changed and precious pages back, and keep them; with WAIT, return when that is done.
   errno is set if a page could not be written: it is kept, tried again, and reported once.  */
void pager_sync (struct pager *pager, int wait);
void pager_sync_some (struct pager *pager, vm_address_t start, vm_size_t len, int wait);

/* Drop pages, changes too.  */
void pager_flush (struct pager *pager, int wait);
void pager_flush_some (struct pager *pager, vm_address_t start, vm_size_t len, int wait);

/* Write changed and precious pages back, and drop all.  A page that cannot be written stays.  */
void pager_return (struct pager *pager, int wait);
void pager_return_some (struct pager *pager, vm_address_t start, vm_size_t len, int wait);

/* Supply a page that was not asked for: the page at offset PAGE, from the memory at BUF, which
   remains the caller's.  Ignored where the page is in memory.  PRECIOUS has it written back though
   nobody changes it; WRITELOCK has pager_unlock_page asked before somebody does.  */
void pager_offer_page (struct pager *pager, int precious, int writelock, vm_offset_t page,
                       vm_address_t buf);

/* Change what pager_create was told.  */
void pager_change_attributes (struct pager *pager, boolean_t may_cache,
                              memory_object_copy_strategy_t copy_strategy, int wait);

/* The port, by which the pager can be mapped: see ports_get_right.  */
mach_port_t pager_get_port (struct pager *pager);

/* A send right to a port that cannot be mapped for writing.  */
mach_port_t pager_create_ro_port (struct pager *pager);

/* Write all back and serve nothing more.  Where errno is set, pages could not be written: they are
   kept, and another call tries again.  */
void pager_shutdown (struct pager *pager);

/* The error of the last failure of the page at ADDR (an offset in the object): EIO, ENOSPC, EDQUOT,
   or 0 if the last operation on it went well.  */
error_t pager_get_error (struct pager *pager, vm_address_t addr);

/* Copy *SIZE bytes from the object at OFFSET to OTHER, or with VM_PROT_WRITE in PROT the other way.
   No signal is raised.  *SIZE becomes how many bytes were copied, up to the first bad page.  */
error_t pager_memcpy (struct pager *pager, memory_object_t memobj, vm_offset_t offset, void *other,
                      size_t *size, vm_prot_t prot);

/* ---- Callbacks: what the program defines ----

   Errors are EIO, ENOSPC and EDQUOT; another counts as EIO.  The thread that touches a page which
   cannot be read gets SIGBUS; the same page works once the callback does.  */

/* Read the page at offset PAGE: map a page of memory, fill it and put its address in *BUF; the
   library unmaps it.  *WRITE_LOCK set to nonzero has pager_unlock_page asked before a write.  */
error_t pager_read_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t *buf,
                         int *write_lock);

/* Write the page at BUF to offset PAGE.  BUF may be unmapped or left: both are right.  Keep no
   reference to it.  */
error_t pager_write_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t buf);

/* May be left out.  Write LENGTH bytes at DATA to OFFSET, and say in *WRITTEN how many bytes from
   the first on are written; pager_write_page gets the rest.  EOPNOTSUPP: it gets all of them.  */
error_t pager_write_pages (struct user_pager_info *upi, vm_offset_t offset, vm_address_t data,
                           vm_size_t length, vm_size_t *written);

/* Let the page at offset ADDRESS be written to.  */
error_t pager_unlock_page (struct user_pager_info *upi, vm_offset_t address);

/* The page at offset PAGE was dropped from memory; called if NOTIFY_ON_EVICT was set.  */
void pager_notify_evict (struct user_pager_info *upi, vm_offset_t page);

/* Say in *OFFSET where the object begins and in *SIZE how many bytes it has.  Asked once, when the
   pager is first used and not by pager_create: an object keeps its size.  */
error_t pager_report_extent (struct user_pager_info *upi, vm_address_t *offset, vm_size_t *size);

/* The pager is gone; called exactly once.  */
void pager_clear_user_data (struct user_pager_info *upi);

/* Only weak references are left: drop those that the program holds.  */
void pager_dropweak (struct user_pager_info *upi);

#ifdef __cplusplus
}
#endif

#endif
