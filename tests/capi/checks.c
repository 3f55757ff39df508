/* What a C program may rely on; `checks NAME` runs one check and says nothing if all is well.  */

#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mach.h>
#include <hurd/ports.h>
#include <hurd/pager.h>

#define PAGES 16
#define CHECK(condition) \
  ((condition) ? (void) 0 : error_at_line (1, errno, __FILE__, __LINE__, "not so: %s", #condition))

/* A store in memory, and what is to happen to it.  */
struct user_pager_info
{
  char store[PAGES * 4096];
  struct pager *pager;
  _Atomic int reads, writes, bulk_writes, unlocks, evictions, cleared, dropweaks;
  _Atomic int read_error, write_error, unlock_error, write_lock;
  /* What pager_write_page does with its buffer.  */
  enum { LEAVE, MUNMAP, DEALLOCATE } with_buffer;
  /* How many pages pager_write_pages writes; -1: EOPNOTSUPP.  */
  int bulk;
  /* What the callback does besides.  */
  void (*in_read) (struct user_pager_info *upi);
};

error_t
pager_read_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t *buf, int *write_lock)
{
  void *memory;
  upi->reads++;
  if (upi->in_read)
    upi->in_read (upi);
  if (upi->read_error)
    return upi->read_error;
  memory = mmap (NULL, vm_page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return EIO;
  memcpy (memory, upi->store + page, vm_page_size);
  *buf = (vm_address_t) memory;
  *write_lock = upi->write_lock;
  return 0;
}

error_t
pager_write_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t buf)
{
  upi->writes++;
  if (upi->write_error)
    return upi->write_error;
  memcpy (upi->store + page, (void *) buf, vm_page_size);
  if (upi->with_buffer == MUNMAP)
    CHECK (munmap ((void *) buf, vm_page_size) == 0);
  if (upi->with_buffer == DEALLOCATE)
    CHECK (vm_deallocate (mach_task_self (), buf, vm_page_size) == KERN_SUCCESS);
  return 0;
}

#ifdef BULK
error_t
pager_write_pages (struct user_pager_info *upi, vm_offset_t offset, vm_address_t data,
                   vm_size_t length, vm_size_t *written)
{
  upi->bulk_writes++;
  if (upi->bulk < 0)
    return EOPNOTSUPP;
  *written = upi->bulk * vm_page_size < length ? upi->bulk * vm_page_size : length;
  memcpy (upi->store + offset, (void *) data, *written);
  return *written < length ? EIO : 0;
}
#endif

#ifndef WITHOUT_UNLOCK
error_t
pager_unlock_page (struct user_pager_info *upi, vm_offset_t address)
{
  (void) address;
  upi->unlocks++;
  return upi->unlock_error;
}
#endif

void
pager_notify_evict (struct user_pager_info *upi, vm_offset_t page)
{
  (void) page;
  upi->evictions++;
}

error_t
pager_report_extent (struct user_pager_info *upi, vm_address_t *offset, vm_size_t *size)
{
  static char page[4096];
  /* It is being made: this cannot be done, but must not hang.  */
  errno = 0;
  pager_offer_page (upi->pager, 0, 0, 0, (vm_address_t) page);
  CHECK (errno == EDEADLK || upi->pager == NULL);
  *offset = 0;
  *size = PAGES * vm_page_size;
  return 0;
}

static pthread_mutex_t clear_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t clear_cond = PTHREAD_COND_INITIALIZER;

void
pager_clear_user_data (struct user_pager_info *upi)
{
  pthread_mutex_lock (&clear_lock);
  upi->cleared++;
  pthread_cond_broadcast (&clear_cond);
  pthread_mutex_unlock (&clear_lock);
}

static void
wait_until_cleared (struct user_pager_info *upi)
{
  pthread_mutex_lock (&clear_lock);
  while (! upi->cleared)
    pthread_cond_wait (&clear_cond, &clear_lock);
  pthread_mutex_unlock (&clear_lock);
}

void
pager_dropweak (struct user_pager_info *upi)
{
  upi->dropweaks++;
  ports_port_deref_weak (upi->pager);
}

/* ---- a pager and its mapping ---- */

static struct port_bucket *bucket;
static struct pager_requests *requests;
static struct user_pager_info *upi;
static struct pager *pager;
static char *memory;

static kern_return_t
map_port (mach_port_t port, vm_prot_t prot, char **where)
{
  vm_address_t address = 0;
  kern_return_t err = vm_map (mach_task_self (), &address, PAGES * vm_page_size, 0, 1, port, 0, 0,
                              prot, VM_PROT_READ | VM_PROT_WRITE, VM_INHERIT_NONE);
  *where = (char *) address;
  return err;
}

static void
make (int notify)
{
  mach_port_t port;
  bucket = ports_create_bucket ();
  CHECK (bucket != NULL);
  CHECK (pager_start_workers (bucket, &requests) == 0);
  CHECK (requests != NULL);
  upi = calloc (1, sizeof *upi);
  pager = pager_create (upi, bucket, 0, MEMORY_OBJECT_COPY_NONE, notify);
  CHECK (pager != NULL);
  upi->pager = pager;
  CHECK (pager_get_upi (pager) == upi);
  port = pager_get_port (pager);
  CHECK (MACH_PORT_VALID (port));
  CHECK (mach_port_insert_right (mach_task_self (), port, port, MACH_MSG_TYPE_MAKE_SEND) == 0);
  CHECK (map_port (port, VM_PROT_READ | VM_PROT_WRITE, &memory) == KERN_SUCCESS);
  CHECK (mach_port_deallocate (mach_task_self (), port) == KERN_SUCCESS);
}

static sigjmp_buf bad_page;

static void
on_bus_error (int sig)
{
  (void) sig;
  siglongjmp (bad_page, 1);
}

/* Touch a page for reading, or store there: 0, or SIGBUS.  */
static int
touch (int page, int writes)
{
  volatile char *byte = memory + page * vm_page_size;
  signal (SIGBUS, on_bus_error);
  if (sigsetjmp (bad_page, 1))
    return SIGBUS;
  if (writes)
    *byte = 'w';
  else
    (void) *byte;
  return 0;
}

/* ---- the checks ---- */

static void
data_arrive_and_return (void)
{
  int way;
  make (0);
  strcpy (upi->store + 3 * vm_page_size, "from the store");
  CHECK (strcmp (memory + 3 * vm_page_size, "from the store") == 0);
  for (way = LEAVE; way <= DEALLOCATE; way++)
    {
      int page;
      upi->with_buffer = way;
      upi->writes = 0;
      for (page = 0; page < PAGES; page += 2)
        sprintf (memory + page * vm_page_size, "way %d page %d", way, page);
      pager_sync (pager, 1);
      CHECK (upi->writes == PAGES / 2);
      for (page = 0; page < PAGES; page += 2)
        CHECK (strcmp (upi->store + page * vm_page_size, memory + page * vm_page_size) == 0);
    }
}

static void
bulk_writes_and_what_they_leave (void)
{
  make (0);
  for (upi->bulk = -1; upi->bulk <= PAGES; upi->bulk += 3)
    {
      memset (upi->store, 0, sizeof upi->store);
      memset (memory, 'b' + upi->bulk, PAGES * vm_page_size);
      errno = 0;
      pager_sync (pager, 1);
      CHECK (errno == 0);
      CHECK (memcmp (upi->store, memory, sizeof upi->store) == 0);
    }
#ifdef BULK
  CHECK (upi->bulk_writes > 0);
#endif
}

static void
a_bad_page_raises_sigbus_and_heals (void)
{
  const int errors[] = { EIO, ENOSPC, EDQUOT };
  unsigned int i;
  make (0);
  for (i = 0; i < 3; i++)
    {
      /* Pages that were read ahead are there, whatever the store does now.  */
      pager_flush (pager, 1);
      upi->read_error = errors[i];
      CHECK (touch (i, 0) == SIGBUS);
      CHECK (pager_get_error (pager, i * vm_page_size) == errors[i]);
      upi->read_error = 0;
      CHECK (touch (i, 0) == 0);
      CHECK (pager_get_error (pager, i * vm_page_size) == 0);
    }
  pager_flush (pager, 1);
  upi->read_error = ENOENT;
  CHECK (touch (5, 1) == SIGBUS);
  CHECK (pager_get_error (pager, 5 * vm_page_size) == EIO);
}

static void
memcpy_counts_up_to_the_bad_page (void)
{
  char *bytes = malloc (PAGES * vm_page_size);
  char digits[] = "0123456789";
  size_t size = 3 * vm_page_size;
  int page;
  make (0);
  memset (upi->store, 'x', sizeof upi->store);
  CHECK (pager_memcpy (pager, MACH_PORT_NULL, 100, bytes, &size, VM_PROT_READ) == 0);
  CHECK (size == 3 * vm_page_size && bytes[0] == 'x' && bytes[size - 1] == 'x');
  for (page = 0; page < 4; page++)
    CHECK (touch (page, 0) == 0);
  upi->read_error = ENOSPC;
  size = PAGES * vm_page_size - 100;
  CHECK (pager_memcpy (pager, MACH_PORT_NULL, 100, bytes, &size, VM_PROT_READ) == ENOSPC);
  CHECK (size % vm_page_size == vm_page_size - 100 && size >= 4 * vm_page_size - 100);
  upi->read_error = 0;
  size = 10;
  CHECK (pager_memcpy (pager, MACH_PORT_NULL, 4090, digits, &size, VM_PROT_READ | VM_PROT_WRITE) == 0);
  CHECK (memcmp (memory + 4090, digits, 10) == 0);
  size = 100;
  CHECK (pager_memcpy (pager, MACH_PORT_NULL, PAGES * vm_page_size - 40, bytes, &size, VM_PROT_READ) == EIO);
  CHECK (size == 40);
}

static void
a_write_lock_asks_before_the_first_store (void)
{
  make (0);
  upi->write_lock = 1;
  CHECK (touch (1, 0) == 0 && upi->unlocks == 0);
  CHECK (touch (1, 1) == 0 && upi->unlocks == 1);
  upi->unlock_error = ENOSPC;
  CHECK (touch (2, 0) == 0);
  CHECK (touch (2, 1) == SIGBUS);
  CHECK (pager_get_error (pager, 2 * vm_page_size) == ENOSPC);
  upi->unlock_error = 0;
  CHECK (touch (2, 1) == 0);
}

static void
a_failed_write_is_told_once_and_kept (void)
{
  make (0);
  memory[0] = 'k';
  upi->write_error = ENOSPC;
  errno = 0;
  pager_sync (pager, 1);
  CHECK (errno == ENOSPC);
  CHECK (memory[0] == 'k');
  upi->write_error = 0;
  errno = 0;
  pager_sync (pager, 1);
  CHECK (errno == 0 && upi->store[0] == 'k');
}

static void
flush_drops_and_return_writes_back (void)
{
  make (1);
  memory[0] = 'f';
  pager_flush (pager, 1);
  CHECK (memory[0] == 0);
  CHECK (upi->evictions >= 1);
  memory[0] = 'r';
  memory[vm_page_size] = 's';
  pager_return_some (pager, 0, vm_page_size, 1);
  CHECK (upi->store[0] == 'r' && upi->store[vm_page_size] == 0);
  upi->store[0] = 'n';
  CHECK (memory[0] == 'n');
}

static void
an_offered_page_is_there_without_a_read (void)
{
  char page[4096] = "offered";
  make (0);
  pager_offer_page (pager, 1, 0, 2 * vm_page_size, (vm_address_t) page);
  CHECK (strcmp (memory + 2 * vm_page_size, "offered") == 0);
  CHECK (upi->reads == 0);
  pager_sync (pager, 1);
  CHECK (strcmp (upi->store + 2 * vm_page_size, "offered") == 0);
}

static void
call_back (struct user_pager_info *upi)
{
  char page[4096] = "from inside";
  errno = 0;
  pager_sync (upi->pager, 1);
  CHECK (errno == EDEADLK);
  errno = 0;
  pager_sync (upi->pager, 0);
  pager_offer_page (upi->pager, 0, 0, 9 * vm_page_size, (vm_address_t) page);
  CHECK (errno == 0);
  CHECK (pager_get_upi (upi->pager) == upi);
  ports_port_ref (upi->pager);
  ports_port_deref (upi->pager);
}

static void
a_callback_may_call_its_own_pager (void)
{
  make (0);
  upi->in_read = call_back;
  CHECK (touch (0, 0) == 0);
  upi->in_read = NULL;
  CHECK (strcmp (memory + 9 * vm_page_size, "from inside") == 0);
}

static void
the_pager_ends_with_its_last_holder (void)
{
  mach_port_t port;
  make (0);
  memory[0] = 'e';
  port = ports_get_send_right (pager);
  ports_port_ref (pager);
  ports_port_deref (pager);
  ports_port_deref (pager);
  CHECK (ports_count_bucket (bucket) == 1);
  vm_deallocate (mach_task_self (), (vm_address_t) memory, PAGES * vm_page_size);
  CHECK (map_port (port, VM_PROT_READ, &memory) == KERN_SUCCESS);
  CHECK (memory[0] == 'e' && ! upi->cleared);
  CHECK (mach_port_deallocate (mach_task_self (), port) == KERN_SUCCESS);
  CHECK (mach_port_deallocate (mach_task_self (), port) == KERN_INVALID_RIGHT);
  CHECK (memory[vm_page_size] == 0);
  vm_deallocate (mach_task_self (), (vm_address_t) memory, PAGES * vm_page_size);
  wait_until_cleared (upi);
  CHECK (upi->store[0] == 'e' && upi->cleared == 1);
  CHECK (ports_count_bucket (bucket) == 0);
  CHECK (pager_get_port (pager) == MACH_PORT_NULL);
}

static void
weak_references_are_asked_to_go (void)
{
  make (0);
  ports_port_ref_weak (pager);
  vm_deallocate (mach_task_self (), (vm_address_t) memory, PAGES * vm_page_size);
  CHECK (upi->dropweaks == 0);
  ports_port_deref (pager);
  CHECK (upi->dropweaks == 1);
  wait_until_cleared (upi);
}

static void
an_unused_pager_ends_too (void)
{
  struct pager *unused;
  struct user_pager_info *state;
  make (0);
  unused = pager_create_alloc (sizeof *state, bucket, 1, MEMORY_OBJECT_COPY_DELAY, 0);
  CHECK (unused != NULL);
  state = pager_get_upi (unused);
  CHECK (state->store[0] == 0 && state->store[PAGES * 4096 - 1] == 0);
  pager_sync (unused, 1);
  ports_port_deref (unused);
  CHECK (ports_count_bucket (bucket) == 1);
}

static void *
touch_page_three (void *unused)
{
  (void) unused;
  CHECK (memory[3 * vm_page_size] == 0);
  return NULL;
}

static void
inhibition_lets_requests_wait (void)
{
  pthread_t thread;
  make (0);
  CHECK (pager_inhibit_workers (requests) == 0);
  CHECK (pager_inhibit_workers (requests) == EBUSY);
  CHECK (ports_inhibit_bucket_rpcs (bucket) == 0);
  CHECK (ports_inhibit_bucket_rpcs (bucket) == EBUSY);
  pthread_create (&thread, NULL, touch_page_three, NULL);
  pager_resume_workers (requests);
  CHECK (upi->reads == 0);
  ports_resume_bucket_rpcs (bucket);
  pthread_join (thread, NULL);
  CHECK (upi->reads == 1);
  CHECK (pager_inhibit_workers (requests) == 0);
  pager_resume_workers (requests);
}

static void
a_read_only_port_maps_for_reading_only (void)
{
  mach_port_t port;
  char *reader;
  make (0);
  port = pager_create_ro_port (pager);
  CHECK (MACH_PORT_VALID (port) && port != pager_get_port (pager));
  CHECK (map_port (port, VM_PROT_READ | VM_PROT_WRITE, &reader) == KERN_PROTECTION_FAILURE);
  CHECK (map_port (port, VM_PROT_READ, &reader) == KERN_SUCCESS);
  memory[7] = 'o';
  CHECK (reader[7] == 'o');
}

static void
a_mapping_goes_piece_by_piece (void)
{
  make (0);
  memory[0] = 'p';
  CHECK (vm_deallocate (mach_task_self (), (vm_address_t) memory + 4 * vm_page_size, 4 * vm_page_size) == 0);
  CHECK (memory[0] == 'p' && memory[8 * vm_page_size] == 0);
  CHECK (vm_deallocate (mach_task_self (), (vm_address_t) memory + 8 * vm_page_size, 8 * vm_page_size) == 0);
  ports_port_deref (pager);
  CHECK (memory[0] == 'p' && ! upi->cleared);
  CHECK (vm_deallocate (mach_task_self (), (vm_address_t) memory, 4 * vm_page_size) == 0);
  wait_until_cleared (upi);
  CHECK (upi->store[0] == 'p');
}

static void
memory_without_a_pager (void)
{
  vm_address_t address = 0;
  CHECK (vm_page_size == (vm_size_t) sysconf (_SC_PAGESIZE));
  CHECK (vm_allocate (mach_task_self (), &address, 100, 1) == KERN_SUCCESS);
  strcpy ((char *) address, "mine");
  CHECK (vm_allocate (mach_task_self (), &address, 100, 0) == KERN_NO_SPACE);
  CHECK (vm_deallocate (mach_task_self (), address, 100) == KERN_SUCCESS);
  CHECK (vm_allocate (mach_task_self (), &address, 100, 0) == KERN_SUCCESS);
  CHECK (vm_deallocate (99, address, 100) == KERN_INVALID_TASK);
  CHECK (vm_map (mach_task_self (), &address, 100, 0, 1, 4711, 0, 0, 3, 3, 0) == KERN_INVALID_ARGUMENT);
}

static void
a_copy_is_its_own (void)
{
  mach_port_t port;
  vm_address_t copy = 0;
  make (0);
  strcpy (memory, "before");
  port = pager_get_port (pager);
  CHECK (vm_map (mach_task_self (), &copy, 2 * vm_page_size, 0, 1, port, 0, 1, VM_PROT_DEFAULT,
                 VM_PROT_ALL, VM_INHERIT_COPY) == KERN_SUCCESS);
  strcpy (memory, "after");
  CHECK (strcmp ((char *) copy, "before") == 0);
  ((char *) copy)[0] = 'X';
  CHECK (memory[0] == 'a');
  CHECK (vm_deallocate (mach_task_self (), copy, 2 * vm_page_size) == KERN_SUCCESS);
}

static void
shutdown_writes_all_back (void)
{
  make (0);
  memory[5 * vm_page_size] = 'd';
  upi->write_error = EIO;
  errno = 0;
  pager_shutdown (pager);
  CHECK (errno == EIO);
  upi->write_error = 0;
  errno = 0;
  pager_shutdown (pager);
  CHECK (errno == 0 && upi->store[5 * vm_page_size] == 'd');
  CHECK (touch (6, 0) == SIGBUS);
}

static void
attributes_can_be_changed (void)
{
  make (0);
  errno = 0;
  pager_change_attributes (pager, 1, MEMORY_OBJECT_COPY_DELAY, 1);
  pager_change_attributes (pager, 0, MEMORY_OBJECT_COPY_NONE, 0);
  CHECK (errno == 0);
  pager_change_attributes (pager, 0, 77, 0);
  CHECK (errno == EINVAL);
}

static void
handles_that_are_wrong_are_errors (void)
{
  struct pager_requests *none;
  size_t size = 1;
  char byte;
  make (0);
  errno = 0;
  pager_sync (NULL, 1);
  CHECK (errno == EINVAL);
  ports_port_ref ((void *) 16);
  CHECK (pager_get_port (NULL) == MACH_PORT_NULL);
  CHECK (pager_get_upi (NULL) == NULL);
  CHECK (pager_get_error (NULL, 0) == EINVAL);
  CHECK (pager_memcpy (NULL, 0, 0, &byte, &size, VM_PROT_READ) == EINVAL && size == 0);
  CHECK (pager_create (upi, NULL, 0, 0, 0) == NULL && errno == EINVAL);
  CHECK (pager_create (upi, bucket, 0, 9, 0) == NULL && errno == EINVAL);
  CHECK (pager_start_workers (NULL, &none) == EINVAL && none == NULL);
  CHECK (pager_inhibit_workers (NULL) == EINVAL);
  CHECK (mach_port_deallocate (mach_task_self (), 4711) == KERN_INVALID_NAME);
}

static void
a_missing_callback_is_named (void)
{
  bucket = ports_create_bucket ();
  errno = 0;
  CHECK (pager_create (NULL, bucket, 0, MEMORY_OBJECT_COPY_NONE, 0) == NULL);
  CHECK (errno == ENOSYS);
}

#define ENTRY(check) { #check, check }
static const struct
{
  const char *name;
  void (*run) (void);
} checks[] = {
  ENTRY (data_arrive_and_return),
  ENTRY (bulk_writes_and_what_they_leave),
  ENTRY (a_bad_page_raises_sigbus_and_heals),
  ENTRY (memcpy_counts_up_to_the_bad_page),
  ENTRY (a_write_lock_asks_before_the_first_store),
  ENTRY (a_failed_write_is_told_once_and_kept),
  ENTRY (flush_drops_and_return_writes_back),
  ENTRY (an_offered_page_is_there_without_a_read),
  ENTRY (a_callback_may_call_its_own_pager),
  ENTRY (the_pager_ends_with_its_last_holder),
  ENTRY (weak_references_are_asked_to_go),
  ENTRY (an_unused_pager_ends_too),
  ENTRY (inhibition_lets_requests_wait),
  ENTRY (a_read_only_port_maps_for_reading_only),
  ENTRY (a_mapping_goes_piece_by_piece),
  ENTRY (memory_without_a_pager),
  ENTRY (a_copy_is_its_own),
  ENTRY (shutdown_writes_all_back),
  ENTRY (attributes_can_be_changed),
  ENTRY (handles_that_are_wrong_are_errors),
  ENTRY (a_missing_callback_is_named),
};

int
main (int argc, char **argv)
{
  size_t i;
  alarm (300);
  for (i = 0; i < sizeof checks / sizeof *checks; i++)
    if (argc == 2 && strcmp (argv[1], checks[i].name) == 0)
      {
        checks[i].run ();
        return 0;
      }
  error (2, 0, "there is no such check");
  return 2;
}
